"""Threads that train, predict and compile at once give the same bytes as one after another."""

import threading

import numpy
import pytest
import steps
import threadpoolctl
from checking import optimizers

import xpnet


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def in_threads(n, work):
    """Return what `work` returns for 0 to n - 1, each in its own thread; all start together."""
    found, errors, barrier = [None] * n, [], threading.Barrier(n)

    def run(i):
        try:
            barrier.wait(30)
            found[i] = work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
    return found


DATA = steps.make_images("sparse", (90, 60)), numpy.arange(90, dtype=numpy.uint8) % 3
OPTIMIZERS = optimizers(0.5, times=10)


def trained(xp, seed):
    """Return the bytes of a training's parameters and predictions, and its losses."""
    data = xpnet.Dataset(*DATA)
    model = xpnet.mlp(60, 12, 3) if seed % 2 else xpnet.Sequential(xpnet.Linear(60, 5), xpnet.Linear(5, 3))
    run = xpnet.fit(
        xp, model, data, test=data, optimizer=OPTIMIZERS[seed % 4], epochs=2, batch_size=16 + seed, seed=seed
    )
    assert run.report == ""
    losses = [(epoch.train_loss, epoch.test_loss, epoch.test_accuracy) for epoch in run.history]
    outputs = run.predict_proba(data), run.predict(data), numpy.asarray(run.evaluate(data).loss)
    return [x.tobytes() for x in (*map(xp.to_host, run.params.values()), *outputs)], losses


def test_trainings_in_threads_leave_the_bytes_of_trainings_in_turn(xp):
    seeds = range(4)
    expected = [trained(xp, seed) for seed in seeds]
    found = in_threads(8, lambda i: [trained(xp, (i + seed) % 4) for seed in seeds])
    assert found == [[expected[(i + seed) % 4] for seed in seeds] for i in range(8)]


def test_step_that_threads_share_gives_the_bytes_of_its_program(xp):
    """After the trial, a thread waits while another one runs the program, instead of running the step."""
    weight = numpy.random.default_rng(0).normal(size=(60, 40)).astype(numpy.float32)
    compiled = xp.compile(lambda xp, x, weight, bias: xp.nn.softmax(xp.nn.linear(x, weight, bias)))
    arrays = [numpy.random.default_rng(i).normal(size=(32, 60)).astype(numpy.float32) for i in range(50)]
    bias = numpy.zeros(40, numpy.float32)
    for _ in range(2):
        compiled(xp, arrays[0], weight, bias)

    def in_turn(i):
        return [compiled(xp, x, weight, bias).tobytes() for x in arrays]

    expected = in_turn(0)
    assert in_threads(8, in_turn) == [expected] * 8
    assert compiled.report == ""


def test_step_that_waits_for_a_thread_that_calls_it_does_not_hang(xp):
    def waiting(xp, x):
        if threading.current_thread() is threading.main_thread():
            made = []
            thread = threading.Thread(target=lambda: made.append(compiled(xp, x)))
            thread.start()
            thread.join(30)
            assert made
        return xp.nn.relu(x)

    compiled = xp.compile(waiting)
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    for _ in range(3):
        numpy.testing.assert_array_equal(compiled(xp, x), numpy.maximum(x, 0))


def test_items_may_come_from_a_thread_that_calls_the_step(xp):
    compiled = xp.compile(lambda xp, total, x: (xp.nn.accumulate(total, x, 1.0),))
    zero, one = (numpy.asarray(value, numpy.float32) for value in (0, 1))

    def items():
        for _ in range(6):
            made = []
            thread = threading.Thread(target=lambda made=made: made.append(compiled(xp, zero, one)[0]))
            thread.start()
            thread.join(30)
            yield (made[0],)

    assert xp.fold(compiled, (zero,), items())[0] == 6


def test_step_started_by_a_step_is_recorded_in_its_own_thread(xp):
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    inner = xp.compile(lambda xp, x: xp.nn.sigmoid(x))

    def outer(outer_xp, x):
        thread = threading.Thread(target=lambda: [inner(xp, x) for _ in range(3)])
        thread.start()
        thread.join(30)
        return outer_xp.nn.relu(x)

    compiled = xp.compile(outer)
    for _ in range(3):
        numpy.testing.assert_array_equal(compiled(xp, x), numpy.maximum(x, 0))
    assert (len(compiled.programs), len(inner.programs)) == (1, 1)


BARRIER = threading.Barrier(2)  # A global of a `noting` function, which is not watched.


@steps.noting
def meet():
    BARRIER.wait(30)


def test_threads_that_record_and_try_at_once_note_their_own_calls_only(xp):
    def relu(xp, x):
        meet()
        return xp.nn.relu(x)

    def sigmoid(xp, x):
        meet()
        return xp.nn.sigmoid(x)

    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    expected = [xp.nn.relu(x), xp.nn.sigmoid(x)]
    compiled = xp.compile(relu), xp.compile(sigmoid)
    found = in_threads(2, lambda i: [compiled[i](xp, x) for _ in range(3)])
    for i in range(2):
        steps.assert_same(found[i], [expected[i]] * 3)
        assert (compiled[i].report, len(compiled[i].programs)) == ("", 1)


def test_nothing_of_the_namespace_changes_while_a_step_is_recorded_or_tried(xp):
    seen, x = [], numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    xp.nn.relu(x)  # A kernel of Numba is loaded at the first call.
    own, functions = xp.nn, {**vars(xp.nn)}

    @steps.noting
    def look():
        seen.append(xp.nn is own and vars(own) == functions)

    def step(xp, x):
        look()
        return xp.nn.relu(x)

    compiled = xp.compile(step)
    for _ in range(3):
        compiled(xp, x)
    assert seen == [True, True]


def test_blas_keeps_its_threads_while_numba_records(xp):
    before, seen = [library["num_threads"] for library in threadpoolctl.threadpool_info()], []

    @steps.noting
    def note():
        seen.append([library["num_threads"] for library in threadpoolctl.threadpool_info()])

    def step(xp, x):
        note()
        return xp.nn.relu(x)

    with threadpoolctl.threadpool_limits(2):
        compiled = xp.compile(step)
        for _ in range(3):
            compiled(xp, numpy.ones((2, 3), numpy.float32))
    assert len(seen) == 2
    assert all(2 in found for found in seen)
    assert before == [library["num_threads"] for library in threadpoolctl.threadpool_info()]
