"""A rank that dies ends all others, soon, and one line names it."""

import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from ranks import THREADS, mpiexec, run_ranks

MORTAL = pathlib.Path(__file__).with_name("mortal.py")
SECONDS = 10
MARK = "XPNET_TESTED_IN"


def _lines(text):
    """Return the lines that are the package's, not the launcher's."""
    return re.findall(r"xpnet: [^\n]*", text)


def _running(folder, program=""):
    """Return the processes that were started with a folder; those that are over have no environment."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"{MARK}={folder}".encode() in (entry / "environ").read_bytes().split(b"\0")
                and program.encode() in (entry / "cmdline").read_bytes()
            ):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def _folders():
    return set(pathlib.Path("/tmp").glob("xpnet-*"))


def _wait(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Ranks:
    """Ranks that sum until something ends them."""

    def __init__(self, folder, count, *options):
        self.folder = folder
        self.before = _folders()
        self.launcher = subprocess.Popen(
            [mpiexec(), *options, "-n", str(count), sys.executable, MORTAL, folder, "wait", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **THREADS, MARK: str(folder)},
        )
        _wait(lambda: len(list(folder.glob("*.pid"))) == count or self.launcher.poll() is not None)
        self.pids = [int((folder / f"{rank}.pid").read_text()) for rank in range(count)]

    def end(self):
        """Return standard error when everything is over; fail unless that is soon and nothing is left."""
        _, text = self.launcher.communicate(timeout=SECONDS)
        _wait(lambda: not _running(self.folder) and _folders() <= self.before)
        return text


def _happens(folder, what):
    """Return the completed process of three ranks, of which the second one does something."""
    done = run_ranks(3, MORTAL, folder, what, 1, timeout=SECONDS + 20, env={MARK: str(folder)})
    _wait(lambda: not _running(folder))
    return done


@pytest.mark.parametrize(
    ("seed", "options"),
    [(1, []), (2, []), (3, ["-disable-auto-cleanup"])],
    ids=["first", "second", "launcher that lets the others run"],
)
def test_a_rank_killed_at_a_random_moment_is_named_once(tmp_path, options, seed):
    draw = random.Random(seed)
    ranks = Ranks(tmp_path, 4, *options)
    time.sleep(draw.random() / 2)
    rank = draw.randrange(4)
    os.kill(ranks.pids[rank], signal.SIGKILL)
    (line,) = _lines(ranks.end())
    assert line.startswith(f"xpnet: rank {rank} of 4 (process {ranks.pids[rank]} on ")
    assert line.endswith("; all ranks are stopped")
    assert "was killed by signal 9 (SIGKILL)" in line or "died" in line
    assert ranks.launcher.returncode != 0


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("segfault", r"(was killed by signal 11 \(SIGSEGV\)|died)"),
        ("leave", "(exited with status 3|died)"),
        ("leave with 0", "(exited with status 0|died)"),
        ("exit", "ended while other ranks waited for it"),
        ("wait for it", "ended while other ranks waited for it"),
        ("wait for it asleep", "ended while other ranks waited for it"),
        # A child that the rank forked holds its files open.
        ("fork", r"(was killed by signal 9 \(SIGKILL\)|died)"),
    ],
)
def test_a_rank_that_ends_too_early_is_named_once(tmp_path, what, how):
    done = _happens(tmp_path, what)
    (line,) = _lines(done.stderr)
    assert re.fullmatch(rf"xpnet: rank 1 of 3 \(process \d+ on .+\) {how}; all ranks are stopped", line)
    assert done.returncode != 0


def test_an_error_of_one_rank_ends_all_after_its_cleanup(tmp_path):
    done = _happens(tmp_path, "guarded")
    assert _lines(done.stderr) == ["xpnet: rank 1 of 3 failed: ValueError: of one rank"]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "cleaned").exists()
    assert done.returncode != 0


def test_an_uncaught_bug_of_one_rank_ends_all_with_its_traceback(tmp_path):
    done = _happens(tmp_path, "bug")
    assert _lines(done.stderr) == ["xpnet: rank 1 of 3 failed: KeyError: 'of one rank'"]
    assert done.stderr.count("Traceback") == 1
    assert done.returncode != 0


def test_an_uncaught_bug_of_a_child_ends_only_the_child(tmp_path):
    done = _happens(tmp_path, "bug of child")
    assert done.stderr.count("Traceback") == done.stderr.count("KeyError: 'of a child'") == 1
    assert not _lines(done.stderr)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("diverge", "TrainingDivergedError: the mean training loss of epoch 1 is "),
        ("fit itself", "ValueError: `epochs` must be "),
    ],
)
def test_an_error_of_a_training_of_one_rank_ends_all(tmp_path, what, error):
    done = _happens(tmp_path, what)
    (line,) = _lines(done.stderr)
    assert line.startswith(f"xpnet: rank 1 of 3 failed: {error}")
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_an_uncaught_divergence_of_all_ranks_is_shown_once(tmp_path):
    done = _happens(tmp_path, "diverge together")
    assert done.stderr.count("TrainingDivergedError: ") == done.stderr.count("Traceback") == 1
    assert not _lines(done.stderr)
    assert done.returncode == 1


def test_an_uncaught_error_of_all_ranks_is_shown_once(tmp_path):
    done = _happens(tmp_path, "together")
    assert done.stderr.count("Traceback") == 1
    assert "DistributedError: rank 1 of 3 failed: ValueError: of one rank" in done.stderr
    assert not _lines(done.stderr)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGINT, "was stopped: interrupted"),
        (signal.SIGTERM, r"\(.*\) (was killed by signal 15 \(SIGTERM\)|died); all ranks are stopped"),
    ],
)
def test_a_signal_to_the_launcher_ends_all_with_one_line(tmp_path, number, how):
    ranks = Ranks(tmp_path, 3)
    ranks.launcher.send_signal(number)
    (line,) = _lines(ranks.end())
    assert re.fullmatch(f"xpnet: rank . of 3 {how}", line)


def test_nothing_is_left_of_a_launcher_that_is_killed(tmp_path):
    ranks = Ranks(tmp_path, 3)
    ranks.launcher.kill()
    assert len(_lines(ranks.end())) <= 1


def test_training_goes_on_without_the_watcher(tmp_path):
    ranks = Ranks(tmp_path, 2)
    (watcher,) = _running(tmp_path, "watcher.py")
    os.kill(watcher, signal.SIGKILL)
    time.sleep(0.3)
    assert ranks.launcher.poll() is None
    assert all(pathlib.Path(f"/proc/{pid}").exists() for pid in ranks.pids)
    os.kill(ranks.pids[0], signal.SIGKILL)
    ranks.end()


def test_nothing_is_said_of_ranks_that_end_as_they_should(tmp_path):
    done = _happens(tmp_path, "nothing")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == "done\n"


def test_a_rank_that_cannot_be_watched_is_an_error_on_all(tmp_path):
    before = _folders()
    done = run_ranks(2, MORTAL.with_name("unwatched.py"), timeout=SECONDS + 10, env={MARK: str(tmp_path)})
    errors = [f"the ranks cannot be watched: no {what}" for what in ("connection", "thread")]
    assert done.stdout.splitlines() == [*errors, *errors, "watched watched"]
    assert (done.returncode, done.stderr) == (0, "")
    _wait(lambda: not _running(tmp_path) and _folders() <= before)
