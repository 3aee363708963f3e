"""Optimizers, decay, clipping and schedules in compiled steps, 100 of them, against PyTorch's."""

import dataclasses

import numpy as np
import pytest

import xpnet
from xpnet import schedules
from xpnet.batches import Scaling, spans
from xpnet.losses import find_loss
from xpnet.problem import Problem
from xpnet.trainer import Trainer

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; install it with `pip install 'xpnet[test-torch]'`"
)
F = torch.nn.functional
by = torch.optim.lr_scheduler

STEPS, BATCH, SEED = 100, 8, 138
# Relative to the largest of an array.
TOLERANCE = 1e-9
MODEL = xpnet.mlp(12, 9, 3, activation="tanh")


def sgd(lr=0.1, **options):
    return lambda params: torch.optim.SGD(params, lr, **options)


OPTIMIZERS = {
    "SGD": (xpnet.SGD(0.1), sgd()),
    "SGD with decay, which is PyTorch's": (xpnet.SGD(0.1, weight_decay=0.05), sgd(weight_decay=0.05)),
    "momentum": (xpnet.SGD(0.1, 0.9), sgd(momentum=0.9)),
    "dampening": (xpnet.SGD(0.1, 0.9, 0.4), sgd(momentum=0.9, dampening=0.4)),
    "nesterov": (xpnet.SGD(0.1, 0.9, nesterov=True), sgd(momentum=0.9, nesterov=True)),
    "momentum as an average": (xpnet.Momentum(1.0, 0.9), sgd(momentum=0.9)),
    "nesterov with an average": (xpnet.Nesterov(1.0, 0.9), sgd(momentum=0.9, nesterov=True)),
    "Adam": (xpnet.Adam(0.01), lambda params: torch.optim.Adam(params, 0.01)),
    "AdamW": (
        xpnet.AdamW(0.01, weight_decay=0.1),
        lambda params: torch.optim.AdamW(params, 0.01, weight_decay=0.1),
    ),
    "Adam with decay": (
        xpnet.Adam(0.01, 0.8, 0.95, 1e-6, weight_decay=0.1),
        lambda params: torch.optim.AdamW(params, 0.01, (0.8, 0.95), 1e-6, weight_decay=0.1),
    ),
    "RMSprop": (xpnet.RMSprop(0.01), lambda params: torch.optim.RMSprop(params, 0.01)),
    "RMSprop with its numbers": (
        xpnet.RMSprop(0.01, 0.8, 1e-4),
        lambda params: torch.optim.RMSprop(params, 0.01, 0.8, 1e-4),
    ),
}

STEP = schedules.Step(0.1, every=30, factor=0.5)
COSINE = schedules.Cosine(0.1, steps=100, final=0.01)
SCHEDULES = {
    "constant": (schedules.Constant(0.1), lambda it: by.ConstantLR(it, factor=1.0)),
    "step": (STEP, lambda it: by.StepLR(it, 30, 0.5)),
    "cosine": (COSINE, lambda it: by.CosineAnnealingLR(it, 100, 0.01)),
    "warmup and a cosine": (
        schedules.Warmup(20, schedules.Cosine(0.1, steps=80), start=0.25),
        lambda it: by.SequentialLR(it, [by.LinearLR(it, 0.25, 1.0, 20), by.CosineAnnealingLR(it, 80)], [20]),
    ),
    "warmup and steps": (
        schedules.Warmup(10, STEP),
        lambda it: by.SequentialLR(it, [by.LinearLR(it, total_iters=10), by.StepLR(it, 30, 0.5)], [10]),
    ),
    "one cycle": (
        schedules.OneCycle(0.1, steps=STEPS),
        lambda it: by.OneCycleLR(it, 0.1, total_steps=STEPS, cycle_momentum=False),
    ),
    "one cycle with its numbers": (
        schedules.OneCycle(0.1, STEPS, 0.45, 10.0, 100.0),
        lambda it: by.OneCycleLR(
            it, 0.1, STEPS, pct_start=0.45, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
}


@pytest.fixture(scope="module")
def train():
    random = np.random.Generator(np.random.Philox(SEED))
    images = random.integers(0, 256, (STEPS * BATCH, 12), np.uint8)
    return xpnet.Dataset(images, random.integers(0, 3, STEPS * BATCH).astype(np.int32))


def trained_by_torch(start, train, make, *, schedule=None, clip_norm=None, decay=0.0):
    """Return the parameters after one epoch in order, and the rates of its steps.

    Decoupled decay is taken before each step, as in PyTorch's AdamW.
    """
    params = [torch.tensor(array, requires_grad=True) for array in start]
    optimizer = make(params)
    scheduler = schedule and schedule(optimizer)
    images = torch.tensor(train.images / 255)
    labels = torch.tensor(train.labels, dtype=torch.int64)
    rates = []
    for begin, end in spans(len(train), BATCH):
        optimizer.zero_grad()
        weight, bias, last_weight, last_bias = params
        hidden = torch.tanh(images[begin:end] @ weight + bias)
        F.cross_entropy(hidden @ last_weight + last_bias, labels[begin:end]).backward()
        rates.append(optimizer.param_groups[0]["lr"])
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(params, clip_norm)
        with torch.no_grad():
            for p in params:
                p *= 1 - rates[-1] * decay
        optimizer.step()
        if scheduler:
            scheduler.step()
    return [p.detach().numpy() for p in params], rates


def assert_trains_as_pytorch(backend, train, optimizer, make, **options):
    problem = Problem(MODEL, find_loss("softmax_cross_entropy"), Scaling(), "float64")
    start = MODEL.init(backend, SEED, dtype="float64")
    expected, rates = trained_by_torch([backend.to_host(p) for p in start.values()], train, make, **options)
    trainer = Trainer(backend, problem, start, train, optimizer=optimizer, batch_size=BATCH, seed=SEED)
    trainer.epoch(np.arange(len(train), dtype=np.int32))
    assert trainer.report == ""
    for found, other in zip(trainer.params.values(), expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(backend.to_host(found), other, rtol=0, atol=TOLERANCE * scale)
    return rates


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_trains_as_pytorchs_does(backend, train, name):
    assert_trains_as_pytorch(backend, train, *OPTIMIZERS[name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_clipped_as_by_pytorch(backend, train, name):
    ours, theirs = OPTIMIZERS[name]
    clipping = dataclasses.replace(ours, clip_norm=0.4)
    assert_trains_as_pytorch(backend, train, clipping, theirs, clip_norm=0.4)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "RMSprop", "Adam", "momentum as an average"])
def test_decoupled_decay_comes_before_the_step(backend, train, name):
    ours, theirs = OPTIMIZERS[name]
    # Of an average of gradients, the rate is another one than PyTorch's.
    decay = 0.05 * ours.lr / 0.1 if isinstance(ours, xpnet.Momentum) else 0.05
    assert_trains_as_pytorch(
        backend, train, dataclasses.replace(ours, weight_decay=0.05), theirs, decay=decay
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_gives_the_rates_of_pytorchs(backend, train, name):
    ours, schedule = SCHEDULES[name]
    rates = assert_trains_as_pytorch(backend, train, xpnet.SGD(ours), sgd(), schedule=schedule)
    np.testing.assert_allclose([ours(n) for n in range(1, STEPS + 1)], rates, rtol=1e-12)


@pytest.mark.parametrize("name", ["warmup and a cosine", "one cycle"])
def test_all_of_them_together_train_as_pytorchs(backend, train, name):
    ours, schedule = SCHEDULES[name]
    for optimizer, make, decay in (
        (
            xpnet.AdamW(ours, weight_decay=0.1),
            lambda params: torch.optim.AdamW(params, 0.1, weight_decay=0.1),
            0.0,
        ),
        (xpnet.SGD(ours, 0.9, 0.4, weight_decay=0.1), sgd(momentum=0.9, dampening=0.4), 0.1),
    ):
        clipping = dataclasses.replace(optimizer, clip_norm=0.3)
        options = {"schedule": schedule, "clip_norm": 0.3, "decay": decay}
        assert_trains_as_pytorch(backend, train, clipping, make, **options)
