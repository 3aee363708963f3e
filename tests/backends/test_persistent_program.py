"""Whole trainings by the kernel of a scan, without a GPU: see `cuda_on_host`."""

import gc
import itertools
import math
import sys
import weakref
from unittest import mock

import cuda_on_host
import numpy
import pytest
import steps
from cuda_on_host import Cooperative

import xpnet
from xpnet import schedules

BATCH = 8
WARM = schedules.Warmup(4, schedules.Cosine(0.2, steps=15))
NUMPY = xpnet.backend("numpy")


@pytest.fixture(autouse=True)
def _small(package, monkeypatch):
    """Make the kernel the faster way, and give it few threads."""
    monkeypatch.setattr(package.fit, "graph_microseconds", lambda trace: math.inf)
    monkeypatch.setattr(package.fit, "_THREADS", (64,))
    monkeypatch.setattr(Cooperative, "launches", [])


@pytest.fixture
def xp(package, kernels_on_host):
    return cuda_on_host.namespace(package, programs=package.programs)


def make_data():
    return xpnet.Dataset(steps.make_images("sparse", (29, 11)), numpy.arange(29) % 3)


MODEL = xpnet.Sequential(xpnet.Linear(11, 9), xpnet.Sigmoid(), xpnet.Dropout(0.2), xpnet.Linear(9, 3))


def fit(xp, *, epochs=4, model=MODEL, **options):
    """Train with a rate that follows a schedule; the last batch is ragged."""
    options = {"optimizer": xpnet.SGD(WARM, momentum=0.8), "batch_size": BATCH, "dtype": "float64"} | options
    data = make_data()
    return xpnet.fit(xp, model, data, test=data, epochs=epochs, progress=False, **options)


def assert_same_run(found, expected):
    for name, p in expected.params.items():
        numpy.testing.assert_allclose(found.params[name], p, rtol=1e-10, atol=1e-12)
    for mine, other in zip(found.history, expected.history, strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=1e-10)
        assert mine.test_loss == pytest.approx(other.test_loss, rel=1e-10)


def bits_of(carry):
    return [
        *map(bytes, carry[0].values()),
        *map(bytes, carry[1]["velocity"].values()),
        bytes(carry[2]),
        carry[3],
    ]


def make_trainer(xp):
    options = {"optimizer": xpnet.SGD(WARM, momentum=0.8), "batch_size": BATCH}
    return steps.make_trainer(xp, MODEL, make_data(), **options)[0]


def carry_of(trainer):
    return trainer.params, trainer._state, trainer.xp.zeros((), dtype="float64"), trainer._next_step


def scan(trainer, carry, rows):
    constants = trainer._images.images, trainer._targets.arrays
    return trainer.xp.scan(trainer.compiled, carry, rows, *constants)


def make_rows(n, seed=0):
    return cuda_on_host.own(numpy.random.default_rng(seed).integers(0, 29, (n, BATCH)).astype("int32"))


def trained(xp, rows):
    """Return a trainer whose program has the first rows behind it, and the carry."""
    trainer = make_trainer(xp)
    carry = scan(trainer, carry_of(trainer), rows)
    (program,) = trainer.compiled.programs
    return trainer, program, carry


def test_fit_by_the_kernel_equals_numpys_and_the_kernel_takes_all_steps(xp):
    found = fit(xp)
    assert found.report == ""
    assert_same_run(found, fit(NUMPY))
    # Two sizes of batch are rehearsed: a step to try the program, and one more. An epoch has 4 batches.
    assert sum(Cooperative.launches) == 2 * 2 + 4 * 4


def test_scan_has_the_bits_of_its_chunks_of_steps_and_of_launches(xp, package, monkeypatch):
    rows, found = make_rows(20), []
    for lengths, most in (([20], 1024), ([4, 7, 1, 8], 1024), ([1] * 20, 1024), ([20], 5)):
        monkeypatch.setattr(package.kernel, "MOST_STEPS", most)
        trainer, begin = make_trainer(xp), 0
        carry = carry_of(trainer)
        for length in lengths:
            carry = scan(trainer, carry, rows[begin : begin + length])
            begin += length
        found.append(bits_of(carry))
        (program,) = trainer.compiled.programs
        kernel = program._kernel
        assert kernel._arrived == int(kernel._barrier[0]) > 0
    assert found == [found[0]] * 4
    plain = make_trainer(steps.PLAIN)
    expected = scan(plain, carry_of(plain), rows)
    steps.assert_states_alike(carry[0], expected[0], dtype="float64")
    numpy.testing.assert_allclose(carry[2], expected[2], rtol=1e-10)
    assert carry[3] == expected[3] == 21


def test_rows_that_are_apart_are_strided_over_by_the_kernel(xp):
    wide = cuda_on_host.own(numpy.concatenate([make_rows(12), make_rows(12, 1)], axis=1))
    trainer, program, carry = trained(xp, make_rows(3))
    expected = scan(other := make_trainer(xp), carry_of(other), make_rows(3))
    Cooperative.launches.clear()
    for rows in (wide[:, :BATCH], wide[::2, BATCH:], wide[::-3, :BATCH]):
        carry = scan(trainer, carry, rows)
        expected = scan(other, expected, cuda_on_host.own(rows.copy()))
        assert bits_of(carry) == bits_of(expected)
    assert Cooperative.launches == [12, 12, 6, 6, 4, 4]
    assert program.captures == 0


def test_rows_may_be_the_examples_themselves(xp):
    def step(xp, w, b, total, row):
        x, y = row
        loss, d_y = xp.nn.squared_error(xp.nn.linear(x, w, b), y)
        _, d_w, d_b = xp.nn.linear_backward(x, w, d_y, input_gradient=False)
        w, b = xp.nn.sgd_step(w, d_w, 0.1), xp.nn.sgd_step(b, d_b, 0.1)
        return w, b, xp.nn.accumulate(total, loss, 0.5)

    random = numpy.random.default_rng(0)
    start = [random.normal(size=shape) for shape in ((4, 3), (3,), ())]
    rows = tuple(random.normal(size=(12, 5, n)) for n in (4, 3))
    carry, compiled = tuple(map(xp.asarray, start)), xp.compile(step)
    for _ in range(2):
        carry = xp.scan(compiled, carry, tuple(map(xp.asarray, rows)))
    expected = tuple(start)
    for _ in range(2):
        expected = steps.PLAIN.scan(step, expected, rows)
    for mine, plain in zip(carry, expected, strict=True):
        numpy.testing.assert_allclose(mine, plain, rtol=1e-12)
    assert compiled.report == ""
    assert Cooperative.launches == [1, 10, 12]


@pytest.mark.parametrize("graph", [math.inf, 0.0])
def test_a_total_stays_as_it_is_unless_the_step_returns_the_sum(xp, graph, package, monkeypatch):
    monkeypatch.setattr(package.fit, "graph_microseconds", lambda trace: graph)

    def step(xp, params, total, x, y):
        loss, d_y = xp.nn.squared_error(xp.nn.linear(x, *params), y)
        _, *grads = xp.nn.linear_backward(x, params[0], d_y, input_gradient=False)
        xp.nn.accumulate(total, loss, 0.5)
        return tuple(xp.nn.sgd_step(p, grad, 0.1) for p, grad in zip(params, grads, strict=True))

    random, compiled = numpy.random.default_rng(0), xp.compile(step)
    *params, x, y = (cuda_on_host.own(random.normal(size=shape)) for shape in ((4, 3), (3,), (5, 4), (5, 3)))
    total = cuda_on_host.own(numpy.ones(()))
    for _ in range(3):
        params = compiled(xp, params, total, x, y)
    assert total == 1
    assert compiled.report == ""
    assert bool(Cooperative.launches) == (graph > 0)


def test_arrays_that_the_kernel_cannot_read_are_left_to_the_graph(xp):
    """It reads several neighbours of a parameter at once, and their number must have the address for that."""
    trainer, program, carry = trained(xp, make_rows(3))
    for name, p in carry[0].items():
        carry[0][name] = cuda_on_host.own(steps.shifted(p, 8))
    expected = scan(plain := make_trainer(steps.PLAIN), carry_of(plain), make_rows(3))
    Cooperative.launches.clear()
    carry, expected = scan(trainer, carry, make_rows(6, 1)), scan(plain, expected, make_rows(6, 1))
    assert Cooperative.launches == []
    assert program.captures > 0
    steps.assert_states_alike(carry[0], expected[0], dtype="float64")
    carry[0].update((name, cuda_on_host.own(steps.shifted(p, 0))) for name, p in carry[0].items())
    carry, expected = scan(trainer, carry, make_rows(6, 2)), scan(plain, expected, make_rows(6, 2))
    assert Cooperative.launches == [6]
    steps.assert_states_alike(carry[0], expected[0], dtype="float64")
    numpy.testing.assert_allclose(carry[2], expected[2], rtol=1e-10)
    assert trainer.compiled.report == ""


@pytest.mark.parametrize("width", [3, 4])
def test_weights_that_are_rows_are_left_to_the_graph_unless_all_can_be_read(xp, width):
    """Those of an odd number of elements are read where they are by the step, but not by the kernel."""

    def step(xp, params, weight, x, bias, targets):
        y = xp.nn.linear(x, weight, bias)
        _, d_outputs = xp.nn.squared_error(xp.nn.linear(y, *params), targets)
        _, *grads = xp.nn.linear_backward(y, params[0], d_outputs, input_gradient=False)
        return (tuple(xp.nn.sgd_step(p, grad, 0.1) for p, grad in zip(params, grads, strict=True)),)

    random = numpy.random.default_rng(0)
    shapes = (width, 2), (2,), (9, 5, width), (7, 5), (width,), (7, 2)
    first, second, *given = (cuda_on_host.own(random.standard_normal(shape)) for shape in shapes)
    expected = steps.PLAIN.scan(step, ((first.copy(), second.copy()),), *map(numpy.array, given))
    compiled = xp.compile(step)
    found = xp.scan(compiled, ((first, second),), *given)
    steps.assert_same(found, expected, dtype="float64")
    assert compiled.report == ""
    assert (max(Cooperative.launches) > 1) == (width == 4)


NOTE = "each step is a CUDA graph, because a whole scan cannot be one kernel: "


def test_devices_without_what_the_kernel_needs_train_by_graphs_and_say_so(xp, package, monkeypatch):
    expected = fit(NUMPY, epochs=2)
    with monkeypatch.context() as patch:
        patch.setitem(cuda_on_host.ATTRIBUTES, "CooperativeLaunch", 0)
        found = fit(xp, epochs=2)
    assert found.report == NOTE + "the device cannot launch kernels cooperatively"
    assert_same_run(found, expected)
    with monkeypatch.context() as patch:
        patch.setattr(package.fit, "graph_microseconds", lambda trace: 4.0)
        found = fit(xp, epochs=2)
    assert found.report == NOTE + "the device has 3 multiprocessors, and the kernel needs 5"  # of the rest
    assert_same_run(found, expected)
    assert Cooperative.launches == []


def test_steps_that_are_too_large_for_the_kernel_are_graphs_without_a_report(xp, package, monkeypatch):
    monkeypatch.setattr(package.fit, "graph_microseconds", lambda trace: 0.0)
    trainer, program, _ = trained(xp, make_rows(4))
    assert trainer.compiled.report == program.note == ""
    assert "us by the graph" in program.reason
    monkeypatch.undo()
    monkeypatch.setitem(cuda_on_host.ATTRIBUTES, "MaxSharedMemoryPerBlockOptin", 16)
    monkeypatch.setattr(package.fit, "graph_microseconds", lambda trace: math.inf)
    trainer, program, _ = trained(xp, make_rows(4))
    assert trainer.compiled.report == program.note == ""
    assert "bytes of shared memory" in program.reason
    assert Cooperative.launches == []


def test_step_of_other_functions_than_the_kernel_has_is_a_graph_without_a_report(xp):
    compiled = xp.compile(lambda xp, x: xp.nn.relu(x))
    for _ in range(3):
        compiled(xp, xp.asarray([-1.0, 2.0]))
    assert compiled.report == ""
    assert type(compiled.programs[0]).__name__ == "CuPyProgram"
    assert compiled.programs[0].reason


@pytest.mark.parametrize("stage", ["get_function", "launch"])
def test_kernel_that_cannot_be_compiled_or_launched_is_replaced_by_the_graph(stage, xp, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: no")

    owner = cuda_on_host.RawModule if stage == "get_function" else Cooperative
    monkeypatch.setattr(owner, stage if stage == "get_function" else "__call__", refuse)
    found = fit(xp, epochs=2)
    assert found.report == NOTE + "RuntimeError: CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: no"
    assert_same_run(found, fit(NUMPY, epochs=2))


def test_kernel_whose_blocks_cannot_all_run_at_once_is_replaced_by_the_graph(xp, monkeypatch):
    """CuPy would launch fewer blocks, and these would wait for the others for ever."""
    monkeypatch.setattr(Cooperative, "resident", 0)
    found = fit(xp, epochs=2)
    assert found.report == NOTE + "RuntimeError: only 0 of 3 blocks can run at once"
    assert Cooperative.launches == []
    assert_same_run(found, fit(NUMPY, epochs=2))


def test_training_continues_after_a_launch_that_fails(xp):
    trainer, program, carry = trained(xp, make_rows(4))
    kernel = program._kernel
    expected = bits_of(scan(trainer, carry_of(make_trainer(xp)), make_rows(4)))
    with mock.patch.object(Cooperative, "__call__", side_effect=MemoryError), pytest.raises(MemoryError):
        scan(trainer, carry, make_rows(4))
    assert kernel._barrier is None
    assert bits_of(scan(trainer, carry_of(make_trainer(xp)), make_rows(4))) == expected
    assert int(kernel._barrier[0]) == kernel._arrived > 0


def test_scan_on_another_stream_waits_for_the_one_before(xp):
    trainer, program, carry = trained(xp, make_rows(4))
    other, done = cuda_on_host.Stream(), program._kernel._done
    with other:
        carry = scan(trainer, carry, make_rows(4, 1))
    scan(trainer, carry, make_rows(4, 2))
    assert done.waits[-2:] == done.records[-2:] == [other, cuda_on_host.DEFAULT]


def test_barrier_counts_on_where_its_number_wraps(xp):
    trainer, program, carry = trained(xp, make_rows(4))
    kernel = program._kernel
    kernel._barrier[0] = kernel._arrived = 2**32 - 5
    found = bits_of(scan(trainer, carry, make_rows(4, 1)))
    assert int(kernel._barrier[0]) == kernel._arrived < 2**32 - 5
    trainer, _, carry = trained(xp, make_rows(4))
    assert bits_of(scan(trainer, carry, make_rows(4, 1))) == found


def test_resumed_training_ends_with_the_bits_of_a_whole_one(xp, tmp_path):
    fit(xp, epochs=2, checkpoint=tmp_path)
    continued, whole = fit(xp, resume=tmp_path), fit(xp)
    for name, p in whole.params.items():
        assert bytes(continued.params[name]) == bytes(p)


def test_programs_and_images_are_released_with_the_trainer(xp):
    trainer = make_trainer(xp)
    scan(trainer, carry_of(trainer), make_rows(4))
    held = [weakref.ref(trainer.compiled.programs[0]), weakref.ref(trainer._images.images)]
    assert all(reference() is not None for reference in held)
    gc.collect()
    gc.disable()
    try:
        trainer.close()
        del trainer._images
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()


def test_scan_waits_for_nothing_and_reads_nothing(xp):
    trainer, _, carry = trained(xp, make_rows(4))
    rows = make_rows(9)

    with cuda_on_host.waiting_refused():
        carry = scan(trainer, carry, rows)
    trainer, _, expected = trained(xp, make_rows(4))
    assert bits_of(carry) == bits_of(scan(trainer, expected, rows))


def test_python_of_a_scan_does_not_grow_with_its_steps_and_uploads_nothing_without_numbers(
    xp, package, monkeypatch
):
    """The kernel itself is left out."""
    monkeypatch.setattr(cuda_on_host, "_compiled_grid", lambda *args: None)
    monkeypatch.setattr(Cooperative, "_launch", lambda *args: None)
    monkeypatch.setattr(xpnet.replay.trial.Trial, "confirms", lambda *args: True)
    trainer = steps.make_trainer(
        xp, xpnet.mlp(11, 9, 3), make_data(), optimizer=xpnet.Momentum(0.5), batch_size=BATCH
    )[0]
    carry = scan(trainer, carry_of(trainer), make_rows(4))
    rows = {n: make_rows(n) for n in (10, 1000)}
    refuse = mock.Mock(side_effect=AssertionError("something was uploaded"))
    monkeypatch.setattr(package.cupy, "asarray", refuse)
    counts, events = [], itertools.count()
    for n in (10, 10, 1000):
        Cooperative.launches.clear()
        begin = next(events)
        sys.setprofile(lambda *args: next(events))
        try:
            carry = scan(trainer, carry, rows[n])
        finally:
            sys.setprofile(None)
        assert Cooperative.launches == [n]
        counts.append(next(events) - begin)
    assert counts[2] == counts[1] < 1000
