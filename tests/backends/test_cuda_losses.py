"""Means by weight on `cupy` without a GPU: captured with their total, and without a weight above 0."""

import cuda_on_host
import numpy
import pytest

import xpnet
from xpnet import nn

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
