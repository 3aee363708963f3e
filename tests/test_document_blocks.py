"""Every program and every command of README and docs is run as it stands, in an empty folder."""

import os
import pathlib
import re
import subprocess
import sys

import blocks
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))]


def blocks_of(page):
    return list(blocks.blocks((ROOT / page).read_text(encoding="utf-8")))


def is_run(language, code):
    return language == "python" or any(not blocks.reason(command) for command in blocks.commands(code))


RUN = [page for page in PAGES if any(is_run(language, code) for _, language, code in blocks_of(page))]


@pytest.mark.parametrize("page", RUN)
def test_blocks_of_a_page_run_without_errors_and_warnings(page, tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "tests" / "blocks.py", ROOT / page],
        cwd=tmp_path,
        env={**os.environ, "XPNET_BACKEND": "numba", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stderr == ""


def test_most_pages_have_something_to_run():
    assert {"README.md", "docs/start/data.md", "docs/how-to/own-data.md"} <= set(RUN)


def test_every_reason_not_to_run_a_command_is_needed():
    listed = [
        line
        for page in PAGES
        for _, language, code in blocks_of(page)
        if language == "bash"
        for line in blocks.commands(code)
    ]
    unused = [pattern for pattern in blocks.NOT_RUN if not any(re.search(pattern, line) for line in listed)]
    assert unused == []


def test_block_that_fails_names_its_place(tmp_path):
    (tmp_path / "page.md").write_text("# Page\n\n```python\nx = 1\n```\n\n```python\nx / 0\n```\n")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "blocks.py", "page.md"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'File "page.md:8", line 1' in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```bash\na \\\n  b  # c\n# d\n\ne\n```\n", ["a    b  # c", "e"]),
        ("```console\n$ a\nwhat it prints\n$ b\n```\n", ["a", "b"]),
        ("Text:\n\n    a && b\n\nText\n", ["a && b"]),
        ("```text\na\n```\n", []),
    ],
)
def test_commands_are_those_of_shells_and_indented_lines(text, expected):
    found = [blocks.commands(code) for _, language, code in blocks.blocks(text) if language == "bash"]
    assert [command for commands in found for command in commands] == expected
