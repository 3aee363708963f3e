"""A progress bar never stops a training."""

import io
import sys
import threading

import numpy as np
import pytest
import rich
import rich.live
import rich.progress

import xpnet
from xpnet.progress import progress_bar


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


class Writer:
    """Has only one method."""

    def write(self, text):
        return len(text)


class Failing:
    """Raises anything, like the output of a notebook whose kernel is gone."""

    isatty = None

    def write(self, text):
        raise RuntimeError("the kernel is gone")


class FailingTerminal(Failing):
    """Says that it is a terminal."""

    def isatty(self):
        return True


def detached():
    stream = io.TextIOWrapper(io.BytesIO())
    stream.detach()
    return stream


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.fixture
def open_terminal(monkeypatch):
    """Return a function, because standard output set by a fixture is replaced before the test begins."""

    def open_terminal():
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("TERM", "xterm")
        return stream

    return open_terminal


def train(**options):
    data = xpnet.Dataset(np.eye(6, dtype="uint8"), np.arange(6) % 2)
    options = {"optimizer": xpnet.SGD(0.1), "epochs": 2} | options
    return xpnet.fit(xpnet.backend("numpy"), xpnet.mlp(6, 2), data, **options)


@pytest.mark.parametrize("show", [None, True, False])
@pytest.mark.parametrize("make", [lambda: None, closed, detached, Writer, object, Failing, FailingTerminal])
def test_training_needs_no_usable_standard_output(monkeypatch, make, show):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", make())
        run = train(progress=show)
    assert len(run.history) == 2


@pytest.mark.parametrize("show", [None, True])
def test_terminal_shows_a_bar(open_terminal, show):
    terminal = open_terminal()
    train(progress=show)
    assert "training" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_output_that_is_closed_during_a_training_does_not_end_it(open_terminal):
    terminal = open_terminal()
    run = train(callbacks=[lambda run: terminal.close()])
    assert len(run.history) == 2


def test_training_in_a_callback_shows_no_second_bar(open_terminal):
    terminal = open_terminal()
    with progress_bar(3, "outer") as advance:
        train()
        advance(3)
    assert "outer" in terminal.getvalue()
    assert "training" not in terminal.getvalue()


def test_trainings_in_threads_show_one_bar(open_terminal):
    terminal = open_terminal()
    barrier, runs = threading.Barrier(2), []

    def wait(run):
        barrier.wait(timeout=60)

    threads = [threading.Thread(target=lambda: runs.append(train(callbacks=[wait]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(run.history) for run in runs] == [2, 2]
    assert sys.stdout is terminal


def test_training_under_a_display_of_the_users_shows_no_bar(open_terminal):
    terminal = open_terminal()
    with rich.progress.Progress(console=rich.console.Console(file=terminal)) as progress:
        progress.add_task("mine")
        train(progress=True)
    assert "mine" in terminal.getvalue()
    assert "training" not in terminal.getvalue()


def test_training_continues_while_the_global_console_has_a_display(open_terminal):
    open_terminal()
    with rich.live.Live("mine", console=rich.get_console()):
        assert len(train(progress=True).history) == 2


def test_bar_is_free_again_after_an_error(open_terminal):
    terminal = open_terminal()

    def fail(run):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        train(callbacks=[fail])
    before = len(terminal.getvalue())
    train()
    assert "training" in terminal.getvalue()[before:]
