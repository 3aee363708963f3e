"""Processes forked while threads of their parent record, compile and train."""

import os
import select
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest
import steps
from test_threads import DATA

import xpnet

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
PATIENCE = 30  # seconds


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def in_child(work):
    """Return the text that `work` returns in a forked process; fail if it does not return."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = work()
        except BaseException as e:
            text = f"{type(e).__name__}: {e}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    try:
        assert select.select([read], [], [], PATIENCE)[0], "the child hangs"
        return os.read(read, 4096).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)


def train(xp, optimizer=None):
    optimizer = optimizer or xpnet.Momentum(0.5)
    run = xpnet.fit(
        xp, xpnet.mlp(60, 12, 3), xpnet.Dataset(*DATA), optimizer=optimizer, epochs=2, batch_size=16
    )
    return f"{run.report}{xpnet.checkpoint.sha256(map(xp.to_host, run.params.values()))}"


def replayed(xp, compiled, *args):
    """Return how often a compiled step runs in Python in five calls, and why."""
    for _ in range(5):
        compiled(xp, *args)
    return f"{len(compiled.programs)} {compiled.report}"


def test_child_trains_as_its_parent_does(xp):
    expected = train(xp)
    assert in_child(lambda: train(xp)) == expected
    assert in_child(lambda: in_child(lambda: train(xp))) == expected
    assert train(xp) == expected


def test_child_trains_while_a_thread_of_its_parent_records(xp):
    # Pipes, because a step that reaches a lock is not recorded.
    (begun, begin), (ended, end) = os.pipe(), os.pipe()

    def slow(xp, x):
        y = xp.nn.relu(x)
        os.write(begin, b"x")
        os.read(ended, 1)
        return y

    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    expected, compiled = train(xp), xp.compile(slow)
    thread = threading.Thread(target=compiled, args=(xp, x))
    thread.start()
    os.read(begun, 1)
    try:

        def work():
            os.write(end, 9 * b"x")
            return f"{train(xp) == expected} {replayed(xp, compiled, x)}"

        assert in_child(work) == "True 1 "
    finally:
        os.write(end, 9 * b"x")
        thread.join()


def test_step_that_forks_is_recorded_in_both_processes(xp):
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    children, (read, write) = [], os.pipe()

    @steps.noting
    def fork_once():
        if not children:
            children.append(os.fork())

    def forking(xp, x):
        fork_once()
        return xp.nn.relu(x)

    compiled = xp.compile(forking)
    compiled(xp, x)
    found = replayed(xp, compiled, x)
    if children == [0]:
        os.write(write, found.encode())
        os._exit(0)
    assert found == "1 "
    assert select.select([read], [], [], PATIENCE)[0], "the child hangs"
    assert os.read(read, 99) == b"1 "
    os.waitpid(children[0], 0)


def test_child_trains_while_threads_of_its_parent_train(xp):
    expected, stop = train(xp), threading.Event()

    def go_on():
        while not stop.is_set():
            train(xp)

    threads = [threading.Thread(target=go_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            time.sleep(0.01)
            assert in_child(lambda: train(xp)) == expected
    finally:
        stop.set()
        for thread in threads:
            thread.join()


COMPILING = """
import os, select, threading, time, numpy, xpnet
xp = xpnet.backend("numba")
begun = threading.Event()

def compile_():
    begun.set()
    {work}

thread = threading.Thread(target=compile_)
thread.start()
begun.wait()
time.sleep(0.2)
read, write = os.pipe()
child = os.fork()
if child == 0:
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float64)
    step = xp.compile(lambda xp, x: xp.nn.sigmoid(xp.nn.relu(x)))
    for _ in range(3):
        y = step(xp, x)
    os.write(write, f"{{len(step.programs)}} {{step.report}} {{xp.nn.sigmoid(x).sum():.4f}}".encode())
    os._exit(0)
print(os.read(read, 99).decode() if select.select([read], [], [], 60)[0] else "the child hangs")
os.kill(child, 9)
thread.join()
"""
WORK = {
    "a step": "s = xp.compile(lambda xp, x: xp.nn.relu(x)); s(xp, numpy.ones(5)); s(xp, numpy.ones(5))",
    "a kernel": "xp.nn.sigmoid(numpy.ones(5))",
}


@pytest.mark.parametrize("work", WORK)
def test_child_compiles_while_a_thread_of_its_parent_compiles(work, tmp_path):
    pytest.importorskip("numba", reason="numba is not installed")
    done = subprocess.run(
        [sys.executable, "-c", COMPILING.format(work=WORK[work])],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "1  3.0000\n", done.stderr
