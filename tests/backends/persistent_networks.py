"""Networks that persistent kernels are tried with: every activation, loss and optimizer, in drawn sizes."""

import itertools

import numpy
from checking import optimizers
from persistent_on_host import steps_of
from steps import PLAIN, make_images

import xpnet
from xpnet import layers, schedules
from xpnet.batches import Scaling
from xpnet.losses import AbsoluteError, HuberError, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from xpnet.optim import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from xpnet.problem import Problem
from xpnet.trainer import Trainer

ACTIVATIONS = [*(kind() for kind in layers.ACTIVATIONS.values()), xpnet.LeakyReLU(0.1), xpnet.Softmax(), None]

# What targets are, and whether rows have weights.
LABELS, NUMBERS = "labels", "numbers"
LOSSES = [
    (SoftmaxCrossEntropy(), LABELS, False),
    (SquaredError(), NUMBERS, False),
    (SigmoidCrossEntropy(), LABELS, False),
    (SoftmaxCrossEntropy(0.1), LABELS, False),
    (AbsoluteError(), NUMBERS, False),
    (HuberError(0.5), NUMBERS, False),
    (SoftmaxCrossEntropy(), LABELS, True),
    (SigmoidCrossEntropy(), NUMBERS, True),
    (SquaredError(), LABELS, True),
    (AbsoluteError(), NUMBERS, True),
    (HuberError(0.5), NUMBERS, True),
    (SoftmaxCrossEntropy(), NUMBERS, False),
]

# Rates at which a hundred steps do not make rounding errors large.
RULES = [
    *optimizers(0.02, times=1, beta=0.8, eps=1e-3),
    Adam(schedules.Warmup(3, schedules.Cosine(0.02, steps=20)), eps=1e-3),
    Momentum(schedules.Step(0.1, every=3, factor=0.5), weight_decay=0.1),
    AdamW(0.01, eps=1e-3, weight_decay=0.2),
    Nesterov(0.1, weight_decay=0.1),
    SGD(0.1, momentum=0.8, dampening=0.3, weight_decay=0.2),
    SGD(schedules.OneCycle(0.1, steps=120), momentum=0.8, nesterov=True),
    RMSprop(schedules.Cosine(0.01, steps=50), eps=1e-3, weight_decay=0.1),
    SGD(0.1, weight_decay=0.1),
]

SCALINGS = [Scaling(), Scaling(1 / 255, -0.5), Scaling(2 / 255, -1.0), Scaling(1 / 300, 0.125)]
IMAGES = ["sparse", "dense", "float", "blank"]
WIDTHS = [1, 2, 3, 10, 17, 33, 64, 70]
BATCHES = [1, 2, 3, 5, 16, 37, 40]
DTYPES = ["float64", "float32"]


def drawn(seed, *, steps):
    """Return steps of a network. Seeds from 0 on take turns in losses, rules and activations."""
    random = numpy.random.default_rng(seed)
    loss, targets, weighted = LOSSES[seed % len(LOSSES)]
    n_in, batch = int(random.choice(WIDTHS[2:])), int(random.choice(BATCHES))
    least = 2 if isinstance(loss, SoftmaxCrossEntropy) else 1
    n_out = int(random.choice([least, 3, 10]))
    hidden = [int(random.choice(WIDTHS)) for _ in range(seed % 4)]
    model = _model((n_in, *hidden, n_out), seed, random)
    images = make_images(IMAGES[seed % 4], (batch + 9, n_in), seed=seed)
    wanted = _numbers(random, (len(images), n_out), loss)
    data = xpnet.Dataset(
        images,
        numpy.arange(len(images)) % max(n_out, 2) if targets == LABELS else wanted,
        sample_weight=random.integers(0, 4, len(images)) / 2 + 0.5 if weighted else None,
    )
    problem = Problem(model, loss, SCALINGS[seed // 4 % 4], DTYPES[seed // 4 % 2], loss.task(data.targets))
    rows = random.integers(0, len(images), (steps, batch)).astype(numpy.int32)
    return trained(problem, data, RULES[seed % len(RULES)], rows)


def trained(problem, data, optimizer, rows):
    """Return steps of a training."""
    params = problem.model.init(PLAIN, 3, dtype=problem.dtype)
    options = {"optimizer": optimizer, "batch_size": rows.shape[1], "seed": 3}
    return steps_of(Trainer(PLAIN, problem, params, data, **options), rows)


def _model(sizes, seed, random):
    """Return linear layers, with activations between them and perhaps at the end, and perhaps dropout."""
    found, activations = [], itertools.cycle(ACTIVATIONS[seed % len(ACTIVATIONS) :] + ACTIVATIONS)
    drops = seed % 3 == 1
    if drops and random.random() < 0.5:
        found.append(xpnet.Dropout(0.1))
    for i, pair in enumerate(itertools.pairwise(sizes)):
        found.append(xpnet.Linear(*pair))
        if i + 2 < len(sizes) or random.random() < 0.2:
            found += [next(activations), xpnet.Dropout(0.3) if drops and random.random() < 0.6 else None]
    return xpnet.Sequential(*[layer for layer in found if layer is not None])


def _numbers(random, shape, loss):
    """Return targets that fit a loss."""
    if isinstance(loss, SoftmaxCrossEntropy):
        found = random.random(shape) + 0.1
        return found / found.sum(axis=1, keepdims=True)
    if isinstance(loss, SigmoidCrossEntropy):
        return random.random(shape)
    return random.standard_normal(shape)
