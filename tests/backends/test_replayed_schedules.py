"""Compiled steps whose rates follow a schedule: replayed, and never recorded again because of that."""

import dataclasses
import math

import numpy
import pytest
from steps import PLAIN, assert_trained_alike, copied, make_images, make_trainer, noting, train

import xpnet
from xpnet import schedules
from xpnet.optim import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop

SCHEDULES = [
    schedules.Constant(0.05),
    schedules.Step(0.05, every=3, factor=0.5),
    schedules.Cosine(0.05, steps=7),
    schedules.Warmup(4, schedules.Cosine(0.05, steps=5)),
    schedules.OneCycle(0.05, steps=9),
]
OPTIMIZERS = [
    SGD(1, weight_decay=0.1),
    SGD(1, momentum=0.8),
    SGD(1, momentum=0.8, dampening=0.3, weight_decay=0.2),
    SGD(1, momentum=0.8, nesterov=True, weight_decay=0.2),
    Momentum(1, weight_decay=0.2),
    Nesterov(1),
    RMSprop(eps=1e-3, weight_decay=0.2),
    Adam(eps=1e-3),
    AdamW(eps=1e-3, clip_norm=0.5),
    SGD(1, clip_norm=0.5),
]


def scheduled(optimizer, schedule=SCHEDULES[3]):
    return dataclasses.replace(optimizer, lr=schedule)


def compare_trainings(xp, optimizer):
    model, data = xpnet.mlp(29, 10, 3), xpnet.Dataset(make_images("dense", (37, 29)), numpy.arange(37) % 3)
    (mine, calls), (plain, _) = (make_trainer(n, model, data, optimizer=optimizer) for n in (xp, PLAIN))
    train(mine, len(data), steps=24)
    train(plain, len(data), steps=24)
    assert mine.report == ""
    assert {calls.count(size) for size in calls} == {2}  # recorded once and tried once
    assert_trained_alike(mine, plain)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_training_by_a_schedule_is_replayed(replaying, schedule):
    compare_trainings(replaying, SGD(schedule))
    compare_trainings(replaying, scheduled(Adam(eps=1e-3), schedule))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer_is_replayed_with_a_schedule(replaying, optimizer):
    compare_trainings(replaying, scheduled(optimizer))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer_is_replayed_with_a_number(replaying, optimizer):
    compare_trainings(replaying, dataclasses.replace(optimizer, lr=0.05))


def steps_of(optimizer):
    """Return a step of an optimizer, and a list that grows with each that runs in Python."""
    calls = []

    @noting
    def step(xp, params, state, grads):
        calls.append(1)
        return optimizer(xp, params, grads, state)

    return step, calls


def drawn(n=12):
    random = numpy.random.default_rng(0)
    shapes = {"weight": (7, 5), "bias": (5,)}
    return [{name: random.normal(size=shape) for name, shape in shapes.items()} for _ in range(n)]


@pytest.mark.parametrize("folded", [False, True], ids=["call", "fold"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_replayed_steps_have_the_bits_of_steps_as_written(replaying, optimizer, schedule, folded):
    (params, *gradients), optimizer = drawn(), scheduled(optimizer, schedule)
    step, calls = steps_of(optimizer)
    compiled = replaying.compile(step)
    mine = plain = params, optimizer.init(replaying, params)
    mine, plain = copied(mine), copied(plain)
    for i, grads in enumerate(gradients):
        # The first two steps run on portable functions, while they are recorded and tried.
        plain = optimizer(PLAIN if i < 2 else replaying, plain[0], copied(grads), plain[1])
    if folded:
        mine = replaying.fold(compiled, mine, [(grads,) for grads in copied(gradients)])
    else:
        for grads in copied(gradients):
            mine = compiled(replaying, *mine, grads)
    assert compiled.report == ""
    assert len(calls) == 2
    assert mine[1]["step"] == plain[1]["step"] == len(gradients)
    # An operation of Numba adds up squares in another order than the portable function.
    tolerance = 1e-12 if optimizer.clip_norm else 0
    for name, p in plain[0].items():
        numpy.testing.assert_allclose(mine[0][name], p, rtol=tolerance)


def test_rate_is_that_of_the_number_that_the_step_is_given(replaying):
    optimizer = SGD(schedules.Step(1.0, every=10, factor=0.5))
    compiled = replaying.compile(steps_of(optimizer)[0])
    for n in (0, 1, 2, 40, 3, 10):
        params, state = compiled(
            replaying, {"p": numpy.zeros((2, 3))}, {"step": n}, {"p": numpy.ones((2, 3))}
        )
        numpy.testing.assert_array_equal(params["p"], -(0.5 ** (n // 10)))
        assert state == {"step": n + 1}
    assert compiled.report == ""


class Halving:
    """A schedule of a user's."""

    def __init__(self):
        self.first = 1.0

    def __call__(self, step):
        return self.first * 0.5**step


def test_schedule_of_a_user_is_called_at_each_replay(replaying):
    schedule = Halving()
    compiled = replaying.compile(steps_of(SGD(schedule))[0])
    carry = {"p": numpy.zeros((2, 3))}, {"step": 0}
    total = 0.0
    for n in range(8):
        if n == 6:
            schedule.first = 3.0
        carry = compiled(replaying, *carry, {"p": numpy.ones((2, 3))})
        total -= schedule(n + 1)
        numpy.testing.assert_allclose(carry[0]["p"], total)
    assert compiled.report == ""


def test_schedule_that_a_step_calls_itself_is_part_of_it(replaying):
    cosine = schedules.cosine(1.0, steps=5)

    def step(xp, p, n, grad):
        return xp.nn.sgd_step(p, grad, cosine(n + 1)), n + 1

    compiled = replaying.compile(step)
    p, n, total = numpy.zeros((2, 3)), 0, 0.0
    for _ in range(8):
        p, n = compiled(replaying, p, n, numpy.ones((2, 3)))
        total -= cosine(n)
        numpy.testing.assert_allclose(p, total)
    assert compiled.report == ""


@pytest.mark.parametrize(
    ("function", "report"), [(lambda rate: 2 * rate, ""), (math.sqrt, "or with what a schedule made of it")]
)
def test_step_may_compute_with_a_rate_by_arithmetic(replaying, function, report):
    cosine = schedules.cosine(1.0, steps=5)

    def step(xp, p, n, grad):
        return xp.nn.sgd_step(p, grad, function(cosine(n + 1))), n + 1

    compiled = replaying.compile(step)
    p, n, total = numpy.zeros((2, 3)), 0, 0.0
    for _ in range(5):
        p, n = compiled(replaying, p, n, numpy.ones((2, 3)))
        total -= function(cosine(n))
        numpy.testing.assert_allclose(p, total)
    assert report in compiled.report
    assert bool(report) == bool(compiled.report)


def test_rate_may_be_returned(replaying):
    cosine = schedules.cosine(1.0, steps=5)

    def step(xp, p, n, grad):
        rate = cosine(n)
        return xp.nn.sgd_step(p, grad, rate), rate

    compiled = replaying.compile(step)
    for n in range(1, 6):
        _, rate = compiled(replaying, numpy.zeros((2, 3)), n, numpy.ones((2, 3)))
        assert type(rate) is float
        assert rate == cosine(n)
    assert compiled.report == ""


def test_rate_scales_whatever_takes_a_number(replaying):
    rate = schedules.constant(0.25)

    def step(xp, images, indices, z, n):
        x = xp.nn.gather_batch(images, indices, scale=rate(n), offset=0.0, dtype=xp.float32)
        return xp.nn.leaky_relu(xp.nn.add(z, x), slope=rate(n))

    images, indices = make_images("dense", (9, 4)), numpy.array([3, 1], numpy.int32)
    compiled, z = replaying.compile(step), numpy.full((2, 4), -9, numpy.float32)
    expected = step(PLAIN, images, indices, z, 1)
    for n in range(1, 6):
        numpy.testing.assert_array_equal(compiled(replaying, images, indices, z, n), expected)
    assert compiled.report == ""


def test_rate_reaches_functions_without_operations(replaying):
    """Of two dtypes, so that Numba calls the portable function."""
    optimizer = Adam(schedules.cosine(0.5, steps=6))
    compiled = replaying.compile(steps_of(optimizer)[0])
    params = {name: numpy.ones((2, 3), name) for name in ("float32", "float64")}
    mine = plain = copied(params), optimizer.init(PLAIN, params)
    mine, plain = copied(mine), copied(plain)
    for _ in range(8):
        mine, plain = compiled(replaying, *mine, copied(params)), optimizer(PLAIN, plain[0], params, plain[1])
        for name, p in plain[0].items():
            numpy.testing.assert_allclose(mine[0][name], p, rtol=1e-6)
    assert compiled.report == ""


@pytest.mark.parametrize("lr", [0.05, schedules.Step(0.2, every=4)], ids=repr)
@pytest.mark.parametrize("optimizer", [Momentum(0.5), Adam(0.01), SGD(SCHEDULES[3])], ids=repr)
def test_rate_that_a_callback_sets_is_used_from_the_next_step_on(replaying, optimizer, lr):
    images, labels = make_images("dense", (37, 29)), numpy.arange(37) % 3
    model, data = xpnet.mlp(29, 10, 3), xpnet.Dataset(images, labels)

    def set_rate(run):
        if len(run.history) == 2:
            run.lr = lr

    options = {"epochs": 6, "batch_size": 16, "seed": 1, "progress": False, "dtype": "float64"}
    options |= {"optimizer": optimizer, "callbacks": [set_rate]}
    run, plain = (xpnet.fit(xp, model, data, **options) for xp in (replaying, PLAIN))
    assert run.report == ""
    assert run.optimizer.lr == lr
    for name, p in plain.params.items():
        numpy.testing.assert_allclose(run.params[name], p, rtol=1e-10, atol=1e-12)
