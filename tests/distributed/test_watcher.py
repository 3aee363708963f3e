"""The watcher of a node, without ranks."""

import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from xpnet.distributed import watcher

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there are watchers on Linux only")

# Starts a watcher of two ranks, prints its folder, and ends without connecting.
STARTS = "from xpnet.distributed import watch; print(watch._start(2)[0])"


def _watchers(folder):
    """Return the processes with a folder among their arguments."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_it_ends_at_once_if_the_rank_that_started_it_is_gone():
    done = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, check=True)
    folder = done.stdout.strip()
    end = time.monotonic() + 5
    while _watchers(folder) or pathlib.Path(folder).exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("connected", [0, 1])
def test_it_does_not_wait_for_ranks_that_never_connect(tmp_path, monkeypatch, connected):
    monkeypatch.setattr(watcher, "CONNECT", 0.1)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as rank:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=watcher.Watcher(listener, 2, os.getpid()).run, daemon=True)
        if connected:
            rank.connect(path)
            rank.sendall(b'{"kind": "ending", "calls": {}}\n')
        thread.start()
        time.sleep(0.5)
        rank.close()
        thread.join(5)
        assert not thread.is_alive()
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(path)
