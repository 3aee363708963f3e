"""Gradients that are clipped in compiled steps."""

import functools

import numpy
import pytest
from steps import PLAIN

from xpnet import nn


def step(limit, xp, *gradients):
    first, *others = (xp.nn.sum_of_squares(g) for g in gradients)
    for squares in others:
        first = xp.nn.accumulate(first, squares, 1.0)
    clipped = [xp.nn.clip_by_norm(g, first, limit) for g in gradients]
    return [xp.nn.add(g, g) for g in clipped]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limit", [1e-3, 30.0, 1e9])
def test_clipped_gradients_have_at_most_the_norm(replaying, limit, dtype):
    random = numpy.random.default_rng(0)
    gradients = [random.normal(size=shape).astype(dtype) for shape in ((40, 30), (30,), (3, 3, 2, 5), ())]
    clip = functools.partial(step, limit)
    compiled = replaying.compile(clip)
    for _ in range(4):
        found = compiled(replaying, *gradients)
    assert compiled.report == ""
    for x, expected in zip(found, clip(PLAIN, *gradients), strict=True):
        numpy.testing.assert_allclose(x, expected, rtol=1e-5 if dtype == "float32" else 1e-13)
    norm = numpy.sqrt(sum((x.astype(float) ** 2).sum() for x in found)) / 2
    assert norm == pytest.approx(min(limit, numpy.sqrt(sum((g**2).sum() for g in gradients))), rel=1e-4)


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_no_gradient_is_left_as_it_is_beside_one_that_is_not_finite(replaying, value):
    """As in PyTorch: the factor is nan, or 0."""
    clip = functools.partial(step, 1.0)
    compiled = replaying.compile(clip)
    gradients = numpy.ones(5), numpy.array([1.0, value, 1.0])
    with numpy.errstate(invalid="ignore"):
        for _ in range(4):
            found = compiled(replaying, *gradients)
    expected = [0.0] * 5 if value == numpy.inf else [numpy.nan] * 5
    numpy.testing.assert_array_equal(found[0], expected)
    assert numpy.isnan(found[1][1])


def test_a_norm_of_zero_changes_nothing(xp):
    zeros = xp.zeros((3, 2), dtype=xp.float32)
    squares = xp.nn.sum_of_squares(zeros)
    assert float(squares) == 0
    assert float(xp.sum(xp.nn.clip_by_norm(zeros, squares, 1e-9))) == 0
    assert nn.FUNCTIONS["clip_by_norm"].arrays["squares"].axes == ()
