"""Scans by captured graphs of the backend `cupy`, without a GPU: see `cuda_on_host`."""

from unittest import mock

import cuda_on_host
import numpy
import pytest
import steps

import xpnet
from xpnet import schedules

WARM = schedules.Warmup(4, schedules.Cosine(0.2, steps=15))
BATCH = 8


@pytest.fixture
def xp(package, kernels_on_host, monkeypatch):
    monkeypatch.setattr(package.table, "_BLOCK", 5)
    return cuda_on_host.namespace(package)


def make_trainers(*namespaces, optimizer=None, dropout=False):
    middle = [xpnet.Dropout(0.3)] if dropout else []
    model = xpnet.Sequential(xpnet.Linear(11, 9), xpnet.Sigmoid(), *middle, xpnet.Linear(9, 3))
    data = xpnet.Dataset(steps.make_images("dense", (240, 11)), numpy.arange(240) % 3)
    options = {"optimizer": optimizer or xpnet.Momentum(0.5), "batch_size": BATCH}
    return [steps.make_trainer(xp, model, data, **options)[0] for xp in namespaces]


def carry_of(trainer):
    return trainer.params, trainer._state, trainer.xp.zeros((), dtype="float64"), trainer._next_step


def scan(trainer, carry, rows, step=None):
    constants = trainer._images.images, trainer._targets.arrays
    return trainer.xp.scan(step or trainer.compiled, carry, rows, *constants)


def make_rows(n, seed=0):
    return cuda_on_host.own(numpy.random.default_rng(seed).integers(0, 240, (n, BATCH)).astype("int32"))


def assert_equal(found, expected, **tolerance):
    steps.assert_states_alike(found[0], expected[0], dtype="float64")
    numpy.testing.assert_allclose(found[2], expected[2], **{"rtol": 1e-10} | tolerance)
    assert found[3] == expected[3]


OPTIONS = [
    {"optimizer": xpnet.Momentum(0.5)},
    {"optimizer": xpnet.SGD(WARM, weight_decay=0.1), "dropout": True},
    {"optimizer": xpnet.Adam(WARM, eps=1e-3)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["momentum", "dropout and schedule", "adam"])
def test_scan_launches_the_graph_again_and_again(options, xp, package):
    mine, plain = make_trainers(xp, steps.PLAIN, **options)
    found, expected = (scan(t, carry_of(t), make_rows(4)) for t in (mine, plain))
    (program,) = mine.compiled.programs
    for seed in range(3):
        rows = make_rows(23, seed)
        with mock.patch.object(program, "run", wraps=program.run) as run:
            found, expected = scan(mine, found, rows), scan(plain, expected, rows)
        assert run.call_count <= 2 + (0 if options == OPTIONS[0] else 23 // 5 + 1)
        assert_equal(found, expected)
    assert program.captures == 2
    assert mine.compiled.report == ""


@pytest.mark.parametrize("options", OPTIONS, ids=["momentum", "dropout and schedule", "adam"])
def test_scan_has_the_bits_of_its_chunks_and_of_calls(options, xp):
    rows, carries = make_rows(13), []
    for lengths in ([13], [4, 7, 2], [1] * 13):
        (trainer,) = make_trainers(xp, **options)
        carry, begin = carry_of(trainer), 0
        for length in lengths:
            carry = scan(trainer, carry, rows[begin : begin + length])
            begin += length
        carries.append([*map(bytes, carry[0].values()), bytes(carry[2])])
    assert carries[0] == carries[1] == carries[2]


def test_scan_of_rows_that_are_apart_is_that_of_copies(xp):
    wide = cuda_on_host.own(numpy.concatenate([make_rows(40), make_rows(40, 1)], axis=1))
    mine, plain = make_trainers(xp, steps.PLAIN)
    carries = [carry_of(t) for t in (mine, plain)]
    for rows in (wide[:, :BATCH], wide[::2, BATCH:], wide[::-3, :BATCH]):
        carries = [scan(t, c, rows) for t, c in zip((mine, plain), carries, strict=True)]
        assert_equal(*carries)
    assert mine.compiled.report == ""


def scan_like_the_twins(xp, step, carry, rows):
    """Scan twice by a compiled step and by the twins, compare, and return how often a graph was captured."""
    compiled = xp.compile(step)
    mine, plain = tuple(map(xp.asarray, carry)), tuple(x.copy() for x in carry)
    for _ in range(2):
        mine = xp.scan(compiled, mine, tuple(map(xp.asarray, rows)))
        plain = steps.PLAIN.scan(step, plain, rows)
        for one, other in zip(mine, plain, strict=True):
            numpy.testing.assert_allclose(one, other, rtol=1e-10)
    assert compiled.report == ""
    return compiled.programs[0].captures


def test_rows_that_no_table_holds_are_copied_to_where_the_graph_reads_them(xp):
    def step(xp, w, b, total, row):
        x, y = row
        loss, d_y = xp.nn.squared_error(xp.nn.linear(x, w, b), y)
        _, d_w, d_b = xp.nn.linear_backward(x, w, d_y, input_gradient=False)
        return xp.nn.sgd_step(w, d_w, 0.1), xp.nn.sgd_step(b, d_b, 0.1), xp.nn.accumulate(total, loss, 0.5)

    random = numpy.random.default_rng(0)
    carry = [random.normal(size=shape) for shape in ((4, 3), (3,), ())]
    rows = tuple(random.normal(size=(12, 5, n)) for n in (4, 3))
    assert scan_like_the_twins(xp, step, carry, rows) == 2


def test_what_a_step_makes_for_the_next_is_copied_to_where_the_graph_reads_it(xp):
    """A recurrent network, whose states also change places."""

    def step(xp, h, g, w, b, row):
        z = xp.nn.add(xp.nn.linear(h, w, b), row[0])
        return xp.nn.tanh(z), xp.nn.sigmoid(xp.nn.add(z, g)), w, b

    random = numpy.random.default_rng(0)
    carry = [random.normal(size=shape) for shape in ((5, 4), (5, 4), (4, 4), (4,))]
    assert scan_like_the_twins(xp, step, carry, (random.normal(size=(12, 5, 4)),)) == 2


def test_rows_that_a_step_changes_are_changed(xp):
    def step(xp, total, row):
        p, grad = row
        loss, _ = xp.nn.squared_error(p, grad)
        xp.nn.sgd_step(p, grad, 0.5)
        return (xp.nn.accumulate(total, loss, 0.5),)

    compiled = xp.compile(step)
    p, grad = (xp.asarray(numpy.random.default_rng(seed).normal(size=(9, 4, 3))) for seed in (0, 1))
    expected = numpy.array(p)
    for _ in range(2):
        xp.scan(compiled, (xp.asarray(0.0),), (p, grad))
        expected -= 0.5 * numpy.asarray(grad)
        numpy.testing.assert_allclose(p, expected, rtol=1e-12)


def test_scan_by_graphs_waits_for_nothing_and_reads_nothing(xp):
    mine, plain = make_trainers(xp, steps.PLAIN, **OPTIONS[1])
    rows = make_rows(12)
    carries = [scan(t, carry_of(t), rows) for t in (mine, plain)]

    with cuda_on_host.waiting_refused():
        found = scan(mine, carries[0], rows)
    assert_equal(found, scan(plain, carries[1], rows))


def test_training_continues_after_a_scan_whose_launch_fails(xp):
    mine, plain = make_trainers(xp, steps.PLAIN)
    carry = scan(mine, carry_of(mine), make_rows(6))
    (program,) = mine.compiled.programs
    launch = mock.Mock(side_effect=[None, None, MemoryError])
    with mock.patch.object(program, "_graph", mock.Mock(launch=launch)), pytest.raises(MemoryError):
        scan(mine, carry, make_rows(6))
    assert launch.call_count == 3
    mine.params, plain.params = (make_trainers(on)[0].params for on in (xp, steps.PLAIN))
    mine._state, plain._state = (make_trainers(on)[0]._state for on in (xp, steps.PLAIN))
    assert_equal(*[scan(t, carry_of(t), make_rows(6)) for t in (mine, plain)])


def test_indices_below_0_count_from_the_end_of_images_and_of_labels(xp):
    def step(xp, images, labels, indices):
        x = xp.nn.gather_batch(images, indices, scale=2.0, offset=0.0, dtype=xp.float64)
        return xp.nn.relu(x), xp.nn.gather_labels(labels, indices)

    compiled = xp.compile(step)
    data = xp.asarray(numpy.arange(12.0).reshape(6, 2)), xp.asarray(numpy.arange(5, dtype="int32"))
    for indices in ([0, 1], [0, 2], [-1, -2]):
        x, labels = compiled(xp, *data, xp.asarray(numpy.array(indices, "int32")))
    assert x.tolist() == [[20.0, 22.0], [16.0, 18.0]]
    assert labels.tolist() == [4, 3]
    assert compiled.report == ""
    assert compiled.programs
