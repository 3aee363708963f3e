"""Losses on `cupy` without a GPU: of many rows, captured with their total, and without a weight above 0."""

import cuda_on_host
import numpy
import pytest
from checking import assert_returns_what_its_twin_does

import xpnet
from xpnet import nn
from xpnet.drawing import drawn

PLAIN = xpnet.Namespace("plain", numpy)

by_weight = pytest.mark.parametrize(
    "name", [f.name for f in nn.FUNCTIONS.values() if f.is_loss and "weights" in f.arrays]
)


@pytest.fixture
def xp(package, kernels_on_host):
    return cuda_on_host.namespace(package)


def draw(xp, weights):
    random = numpy.random.default_rng(0)
    outputs, targets = random.normal(size=(4, 3)), random.random((4, 3))
    return [xp.asarray(x) for x in (outputs, targets, numpy.asarray(weights))]


def numbers_of(name):
    return [0.7] if nn.FUNCTIONS[name].numbers else []


@by_weight
def test_losses_by_weight_are_added_to_a_total_in_a_captured_step(name, xp):
    def step(xp, total, outputs, targets, weights):
        loss, gradient = getattr(xp.nn, name)(outputs, targets, weights, *numbers_of(name))
        return xp.nn.accumulate_weighted(total, loss, weights), gradient

    compiled, given = xp.compile(step), draw(xp, [0.5, 0.0, 2.0, 1.0])
    total, expected = xp.asarray(numpy.asarray(1.0)), numpy.asarray(1.0)
    for _ in range(5):
        total, found = compiled(xp, total, *given)
        expected, gradient = step(PLAIN, expected, *map(numpy.asarray, given))
        numpy.testing.assert_allclose(total, expected, rtol=1e-12)
        numpy.testing.assert_allclose(found, gradient, rtol=1e-12, atol=1e-14)
    assert compiled.report == ""
    (program,) = compiled.programs
    assert [task.name for task in program.tasks] == [f"{name} accumulate"]
    assert program.captures


@by_weight
def test_loss_and_gradient_are_0_if_all_weights_are(name, xp):
    loss, gradient = getattr(xp.nn, name)(*draw(xp, [0.0] * 4), *numbers_of(name))
    assert loss == 0
    assert not gradient.any()


of_rows = pytest.mark.parametrize(
    "function",
    [f for f in nn.FUNCTIONS.values() if f.is_loss and "batch" in f.axes],
    ids=lambda function: function.name,
)


@of_rows
@pytest.mark.parametrize("few", [2**14, 0], ids=["each block", "one kernel"])
@pytest.mark.parametrize("sizes", [(1, 1), (137, 10), (300, 3), (19, 100), (5, 700)])
def test_losses_of_rows_in_few_blocks_match_their_twins(function, sizes, few, xp, package, monkeypatch):
    monkeypatch.setattr(package.launch, "MAX_BLOCKS", 2)
    monkeypatch.setattr(package.launch, "FEW_WEIGHTS", few)
    given = dict(zip(function.axes, sizes, strict=True))
    assert_returns_what_its_twin_does(xp, function, drawn(function, seed=0, sizes=given))


@of_rows
def test_a_number_that_is_not_finite_stays_in_its_row(function, xp):
    for value in (numpy.nan, numpy.inf, -numpy.inf):
        given = drawn(function, seed=0, sizes=dict(zip(function.axes, (140, 10), strict=True)))
        outputs = next(iter(given))
        given[outputs] = given[outputs].copy()
        given[outputs][129, 9] = value
        assert_returns_what_its_twin_does(xp, function, given)


def test_rows_of_a_loss_have_enough_threads_in_a_warp_or_a_block(package):
    launch = package.launch
    for width in (1, 8, 9, 10, 17, 100, 256, 257, 5000):
        lanes = launch.lanes(width)
        assert lanes & (lanes - 1) == 0
        assert lanes * launch.AT_ONCE >= min(width, launch.WARP * launch.AT_ONCE)
        assert lanes <= launch.WARP or lanes == launch.THREADS
        for rows in (0, 1, 128, 10**6):
            blocks, threads = launch.teams(rows, lanes)
            assert threads % launch.WARP == threads % lanes == 0
            assert (blocks == 0) == (rows == 0)
            assert blocks == launch.MAX_BLOCKS or blocks * threads >= rows * lanes


def test_a_loss_of_the_courses_batch_is_one_block(package):
    launch = package.launch
    assert launch.teams(128, launch.lanes(10)) == (1, 256)
    assert launch.shares(128 * 10) == 1
