"""Networks that persistent kernels are tried with: every activation, loss and optimizer, in drawn sizes."""

import itertools

import numpy
from checking import optimizers
from persistent_on_host import Steps, steps_of
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


def large():
    """Return steps with wide layers, whose parameters are too many to keep, and with a long batch."""
    wide = xpnet.Sequential(
        xpnet.Linear(300, 150), xpnet.Softmax(), xpnet.Linear(150, 70), xpnet.ReLU(), xpnet.Linear(70, 40)
    )
    images, labels = make_images("sparse", (19, 300)), numpy.arange(19) * 2
    long = xpnet.Sequential(xpnet.Linear(20, 33), xpnet.Tanh(), xpnet.Linear(33, 3))
    others = xpnet.Dataset(make_images("float", (201, 20)), numpy.arange(201) % 3)
    return [
        classified(wide, xpnet.Dataset(images, labels), Adam(0.01, eps=1e-3), batch=9, dtype="float32"),
        classified(long, others, Momentum(0.1), batch=150, dtype="float64"),
    ]


def course():
    """Return steps of the network of the course, on images as sparse as digits."""
    data = xpnet.Dataset(make_images("sparse", (300, 784)), numpy.arange(300) % 10)
    return classified(xpnet.mlp(784, 64, 10), data, Momentum(0.1), batch=128, dtype="float32")


def shaped():
    """Return steps of a network that changes the shape of rows, and adds layers to their inputs."""
    layers = xpnet.Flatten(), xpnet.Residual(xpnet.Linear(12, 12), xpnet.Tanh()), xpnet.Unflatten(2, 3, 2)
    model = xpnet.Sequential(*layers, xpnet.ReLU(), xpnet.Flatten(), xpnet.Linear(12, 3))
    data = xpnet.Dataset(make_images("dense", (20, 3, 4)), numpy.arange(20) % 3)
    return classified(model, data, SGD(0.1), batch=5, dtype="float64")


def classified(model, data, optimizer, *, batch, dtype):
    """Return four steps of a model that tells classes apart."""
    problem = Problem(model, SoftmaxCrossEntropy(), Scaling(), dtype)
    rows = numpy.random.default_rng(0).integers(0, len(data), (4, batch))
    return trained(problem, data, optimizer, rows.astype(numpy.int32))


def gathered_step(xp, params, total, rows, images, labels):
    """Step a residual network by batches that are gathered by indices of any whole numbers."""
    indices, keep = rows
    x = xp.nn.gather_batch(images, indices, scale=0.5, offset=-0.25, dtype=images.dtype)
    z = xp.nn.linear(x, params["first"], params["first_bias"])
    y = xp.nn.add(xp.nn.gelu(z), x)
    outputs = xp.nn.log_softmax(xp.nn.linear(y, params["last"], keep))
    loss, d_outputs = xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels, indices))
    d_logits = xp.nn.log_softmax_backward(outputs, d_outputs)
    dy, d_last, _ = xp.nn.linear_backward(y, params["last"], d_logits, input_gradient=True)
    dz = xp.nn.gelu_backward(z, dy)
    _, d_first, d_bias = xp.nn.linear_backward(x, params["first"], dz, input_gradient=False)
    grads = {"first": d_first, "first_bias": d_bias, "last": d_last}
    params = {name: xp.nn.sgd_step(p, grads[name], 0.1) for name, p in params.items()}
    return params, xp.nn.accumulate(total, loss, 2.5)


def given_step(xp, params, number, rows, frozen):
    """Step a layer behind one that stays, by rows that are whole batches."""
    x, targets = rows
    y = xp.nn.tanh(xp.nn.linear(x, *frozen))
    y = xp.nn.dropout(y, 2**63 + 2**31 + 5, number, 0.25, first=2**33 + 5)
    _, d_outputs = xp.nn.squared_error(xp.nn.linear(y, *params), targets)
    _, *grads = xp.nn.linear_backward(y, params[0], d_outputs, input_gradient=False)
    both = zip(params, grads, strict=True)
    return tuple(xp.nn.sgd_step(p, grad, 0.1, weight_decay=0.1) for p, grad in both), number + 1


def counted_step(xp, params, moments, number, rows):
    """Step a layer by rules whose numbers differ from step to step, and are partly the same."""
    x, targets = rows
    _, d_outputs = xp.nn.squared_error(xp.nn.linear(x, *params), targets)
    _, *grads = xp.nn.linear_backward(x, params[0], d_outputs, input_gradient=False)
    betas = (0.9, 0.9), (0.8, 0.9)
    found = [
        xp.nn.adam_step(p, grad, *both, number + 1, 0.01, *beta, 1e-3)
        for p, grad, both, beta in zip(params, grads, moments, betas, strict=True)
    ]
    return tuple(p for p, *_ in found), tuple((mean, variance) for _, mean, variance in found), number + 1


def own(dtype, integer):
    """Return steps that are no trainer's; some labels are no classes, and some indices count from the end."""
    random = numpy.random.default_rng(0)

    def numbers(*shape):
        return random.standard_normal(shape).astype(dtype)

    params = {"first": numbers(6, 6), "first_bias": numbers(6), "last": numbers(6, 40)}
    indices, labels = random.integers(-20, 20, (9, 5)), random.integers(-1, 45, 20)
    rows = indices.astype(integer), numbers(9, 40)
    gathered = (params, numbers()), rows, (numbers(20, 6), labels.astype(integer))
    layer, frozen = (numbers(8, 3), numbers(3)), (numbers(5, 8), numbers(8))
    given = (layer, 2**32 - 4), (numbers(9, 7, 5), numbers(9, 7, 3)), (frozen,)
    params = numbers(5, 3), numbers(3)
    moments = tuple((numpy.zeros_like(p), numpy.zeros_like(p)) for p in params)
    counted = (params, moments, 0), given[1], ()
    return [Steps(gathered_step, *gathered), Steps(given_step, *given), Steps(counted_step, *counted)]
