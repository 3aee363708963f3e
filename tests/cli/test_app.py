"""Errors of the command: one line that keeps every name unchanged."""

import os
import re
import signal
import subprocess
import sys

import click
import pytest

import xpnet
from xpnet.cli.app import main


@pytest.fixture
def failing(monkeypatch, capsys):
    """Return a function that returns the line and the status of a command that raises an error."""
    handler = signal.getsignal(signal.SIGINT)

    def fail(error):
        def raise_it(name=None):
            raise error

        monkeypatch.setattr(xpnet, "backend", raise_it)
        monkeypatch.setattr(sys, "argv", ["xpnet", "train"])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("xpnet: ")
        assert printed.err.count("\n") == 1
        return printed.err.removeprefix("xpnet: ").removesuffix("\n"), exit_.value.code

    yield fail
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(
    "text",
    [
        "IDX file 'x' is damaged; write it again",
        "CuPy is missing; install it",
        "NumPy has no such function",
        "/Data/Two  Spaces. is a folder",
        "number the classes 0, 1, 2, ...",
    ],
)
@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, OSError, click.ClickException])
def test_names_paths_and_dots_are_printed_unchanged(failing, text, kind):
    assert failing(kind(text)) == (text, 1)


@pytest.mark.parametrize(
    ("text", "shown"), [("No such option.", "no such option"), ("Got a b", "got a b"), ("A b", "a b")]
)
def test_clicks_own_sentences_begin_in_lower_case_and_have_no_stop(failing, text, shown):
    assert failing(click.UsageError(text)) == (shown, 2)


def test_lines_become_one():
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", "train", "--data", "a\n  b  c"], capture_output=True, text=True
    )
    assert done.stderr == "xpnet: `path` 'a\\n  b  c' does not exist; pass a folder of IDX files\n"


def test_text_of_several_lines_is_joined(failing):
    assert failing(RuntimeError("first.\n\n    second  third.\n")) == ("first. second  third", 1)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, TypeError, OSError, AssertionError, KeyError])
@pytest.mark.parametrize("text", [(), ("",)])
def test_error_without_text_is_shown_by_its_type(failing, kind, text):
    message, status = failing(kind(*text))
    assert message.startswith(kind.__name__)
    assert "memory" not in message
    assert status == 1


@pytest.mark.parametrize(
    "error", [KeyError("weight"), AssertionError("odd"), AttributeError("x"), LookupError("x")]
)
def test_bug_is_reported_with_its_type_its_place_and_how_to_see_more(failing, error):
    message, status = failing(error)
    assert re.match(rf"{type(error).__name__}: .*\(line \d+ of '.*test_app\.py'\): this is a bug", message)
    assert "`python -X dev -m xpnet` prints" in message
    assert status == 1


def test_traceback_is_printed_in_pythons_development_mode(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import xpnet\nxpnet.backend = None\n")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "xpnet", "train"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1] == "xpnet: 'NoneType' object is not callable"


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("Unable to allocate 1 PiB")])
def test_shortage_of_memory_is_named(failing, error):
    found = f" ({error})" if error.args else ""
    advice = "take fewer images, smaller batches or a smaller model"
    assert failing(error) == (f"out of memory{found}; {advice}", 1)


def test_shortage_on_a_device_has_its_own_message(failing):
    error = xpnet.DeviceMemoryError("backend 'cupy' on 0", 2**30, 2**20, 5)
    assert failing(error) == (str(error), 1)
