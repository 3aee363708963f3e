"""Rates that follow a schedule, weight decay and clipping in captured steps, without a GPU."""

import cuda_on_host
import numpy
import pytest
import steps

import xpnet
from xpnet import schedules
from xpnet.optim import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop

PLAIN = xpnet.Namespace("plain", numpy)
WARM = schedules.Warmup(4, schedules.Cosine(0.2, steps=15))
OPTIMIZERS = [
    SGD(WARM, weight_decay=0.1),
    SGD(WARM, momentum=0.8),
    SGD(0.1, momentum=0.8, dampening=0.3, weight_decay=0.2),
    SGD(WARM, momentum=0.8, dampening=0.3),
    SGD(WARM, momentum=0.8, nesterov=True, weight_decay=0.2),
    Momentum(WARM, weight_decay=0.2, clip_norm=0.5),
    Momentum(0.5, weight_decay=0.2),
    Nesterov(WARM),
    RMSprop(WARM, eps=1e-3, weight_decay=0.2),
    Adam(WARM, eps=1e-3),
    AdamW(WARM, eps=1e-3, clip_norm=0.5),
    SGD(0.5, clip_norm=0.5),
]


@pytest.fixture
def xp(package, kernels_on_host):
    return cuda_on_host.namespace(package)


@pytest.mark.parametrize("largest", [2**24, 0], ids=["by a kernel", "by cuBLAS"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_captured_training_equals_that_of_the_twins(optimizer, largest, xp, package, monkeypatch):
    monkeypatch.setattr(package.dense, "LARGEST_PRODUCT", largest)
    monkeypatch.setattr(package.blas, "multiply", cuda_on_host.multiply)
    monkeypatch.setattr(package.table, "_BLOCK", 5)
    model, data = (
        xpnet.mlp(11, 9, 3),
        xpnet.Dataset(steps.make_images("dense", (22, 11)), numpy.arange(22) % 3),
    )
    options = {"optimizer": optimizer, "batch_size": 8}
    (mine, calls), (plain, _) = (steps.make_trainer(on, model, data, **options) for on in (xp, PLAIN))
    for epoch in range(8):
        order = numpy.roll(numpy.arange(22, dtype=numpy.int32), 5 * epoch)
        numpy.testing.assert_allclose(mine.epoch(order), plain.epoch(order), rtol=1e-10)
    assert mine.compiled.report == ""
    assert {calls.count(size) for size in calls} == {2}
    assert [program.captures for program in mine.compiled.programs] == [2, 2]
    for name, p in plain.params.items():
        numpy.testing.assert_allclose(mine.params[name], p, rtol=1e-10, atol=1e-10)


def compiled(xp, schedule):
    optimizer = SGD(schedule)
    return xp.compile(lambda xp, params, state, grads: optimizer(xp, params, grads, state))


def test_rate_is_that_of_the_number_that_the_step_is_given(xp):
    step = compiled(xp, schedules.Step(1.0, every=10, factor=0.5))
    params, grads = {"p": xp.asarray(numpy.zeros((2, 3)))}, {"p": xp.asarray(numpy.ones((2, 3)))}
    total = 0.0
    for n in (0, 1, 2, 40, 3, 10, 11, 1000, 1001, 12):
        params, state = step(xp, params, {"step": n}, grads)
        total -= 0.5 ** (n // 10)
        numpy.testing.assert_array_equal(params["p"], total)
        assert state == {"step": n + 1}
    assert step.report == ""


def test_schedule_of_a_user_that_ends_is_called_for_the_steps_that_are_taken(xp):
    rates = (0.5, 0.25, 0.125, 1.0, 2.0, 4.0)
    step = compiled(xp, lambda n: rates[n - 1])
    carry, grads = ({"p": xp.asarray(numpy.zeros(3))}, {"step": 0}), {"p": xp.asarray(numpy.ones(3))}
    for n in range(len(rates)):
        carry = step(xp, *carry, grads)
        numpy.testing.assert_array_equal(carry[0]["p"], -sum(rates[: n + 1]))
    assert step.report == ""
    with pytest.raises(IndexError):
        step(xp, *carry, grads)


def test_numbers_that_follow_others_are_not_captured_for_a_function_without_such_a_kernel(xp):
    cosine = schedules.cosine(0.5, steps=9)
    step = xp.compile(lambda xp, z, n: xp.nn.leaky_relu(z, slope=cosine(n)))
    z = xp.asarray(numpy.full(3, -1.0))
    for n in range(1, 5):
        numpy.testing.assert_allclose(step(xp, z, n), -cosine(n))
    assert step.report == "`nn.leaky_relu` has no kernel that takes a number that may change"


def test_rule_whose_struct_has_no_place_for_it_is_not_captured(xp):
    cosine = schedules.cosine(0.5, steps=9)

    def step(xp, p, g, velocity, n):
        return xp.nn.sgd_momentum_step(p, g, velocity, 0.1, cosine(n))

    made = xp.compile(step)
    expected = [numpy.ones(3) for _ in range(3)]
    found = [xp.asarray(x.copy()) for x in expected]
    for n in range(1, 5):
        found[0], found[2] = made(xp, *found, n)
        expected[0], expected[2] = step(PLAIN, *expected, n)
        numpy.testing.assert_allclose(found[0], expected[0])
    assert made.report == "`nn.sgd_momentum_step` has no kernel that takes a number that may change"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_squares_of_many_blocks_are_those_of_the_twin(xp, dtype):
    x = numpy.random.default_rng(0).normal(size=(300, 1000)).astype(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    numpy.testing.assert_allclose(
        xp.nn.sum_of_squares(xp.asarray(x)), (x.astype(float) ** 2).sum(), tolerance
    )
    assert xp.nn.sum_of_squares(xp.asarray(x[:0])) == 0
