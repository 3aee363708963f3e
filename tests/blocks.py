"""Run what a page shows, in the present folder: its python programs, as one program, and its commands.

A python program that begins with the name of a file, such as ``# train.py``, is saved for a later command.

python tests/blocks.py README.md
"""

from __future__ import annotations

import itertools
import linecache
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

_BLOCK = re.compile(
    r"^```(?P<language>\w*).*\n(?P<code>(?:.*\n)*?)```$|(?<=\n\n)(?P<indented>(?: {4}\S.*\n)+)", re.MULTILINE
)
_SHELLS = "bash", "console", "sh", "shell"

# What a test does not run, and why; its options are still parsed.
NOT_RUN = {
    r"pip install|\bpython3 -m venv|\. \.venv/": "installs: the tests run in what it made",
    r"pytest": "runs these tests",
    r"mkdocs serve": "serves until it is stopped; tests/test_site.py builds the site",
    r"cupy": "needs a GPU",
    r"bench\b.*--peers": "takes minutes, and needs the peers",
    r"bench\b.*--distributed": "takes minutes; tests/distributed times smaller networks",
    r"xpnet draw": "serves until it is stopped; tests/draw drives it",
}


def blocks(page: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the language and the text of each block; that of commands is ``"bash"``."""
    for match in re.finditer(_BLOCK, page):
        language, code = match["language"], match["code"] or match["indented"]
        if match["indented"] or language in _SHELLS:
            language, code = "bash", re.sub(r"^    ", "", code, flags=re.MULTILINE)
        yield page[: match.start()].count("\n") + 2, language, code


def commands(code: str) -> list[str]:
    """Return the commands of a block; if some begin with a prompt, what others print is left out."""
    lines = code.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def reason(command: str) -> str:
    """Return why a command is not run; empty if it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command)), "")


def main(path: str) -> None:
    """Run a page, with the programs of this Python's environment, which is also `.venv`."""
    here = pathlib.Path(".venv")
    if not here.exists():
        here.symlink_to(sys.prefix)
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names = {"__name__": "__main__"}
    for line, language, code in blocks(pathlib.Path(path).read_text(encoding="utf-8")):
        where = f"{path}:{line}"
        print(f"== {where}", flush=True)
        name = re.match(r"# (\w+\.py)\n", code)
        if language == "python" and name:
            pathlib.Path(name[1]).write_text(code, encoding="utf-8")
        elif language == "python":
            linecache.cache[where] = len(code), None, code.splitlines(keepends=True), where
            exec(compile(code, where, "exec"), names)
        elif language == "bash":
            for command in itertools.filterfalse(reason, commands(code)):
                print(f"$ {command}", flush=True)
                subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
