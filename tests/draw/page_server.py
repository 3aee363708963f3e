"""The command `xpnet draw` in a process of its own, on a free port."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
from urllib.parse import urlsplit


@contextlib.contextmanager
def serving(*args):
    """Return a context with the address of a page; nothing may be written to standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xpnet", "draw", *map(str, args), "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XPNET_BACKEND": ""},
    )
    lines = []
    try:
        while not (found := re.search(r"^draw on (http://\S+) ", lines[-1] if lines else "")):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        yield found.group(1)
    finally:
        process.terminate()
        errors = process.communicate()[1]
    assert errors == "xpnet: terminated\n"


def ask(address, method, path, body=None, **headers):
    """Return the status, the headers and the text of a response."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request(
            method, path, body, {key.replace("_", "-"): value for key, value in headers.items()}
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()
