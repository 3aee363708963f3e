"""Trainings and steps for the tests of backends that replay, with twins that run as written."""

import itertools

import numpy
from checking import assert_close, optimizers
from hypothesis import strategies as st

import xpnet
from xpnet import layers
from xpnet.batches import Scaling
from xpnet.losses import LOSSES
from xpnet.problem import Problem
from xpnet.trainer import Trainer

PLAIN = xpnet.Namespace("plain", numpy)  # no kernels, and steps are not compiled


# Different orders of summation over a dozen steps; multiplies the tolerances in `checking`.
FACTOR = 500


IMAGES = ["sparse", "dense", "blank", "float"]


ACTIVATIONS = [*layers.ACTIVATIONS.values(), xpnet.Softmax]


# A large `eps`, because Adam turns the sign of a gradient that rounds to 0 into a whole step.
OPTIMIZERS = optimizers(0.02, times=10, beta=0.8, eps=1e-3)


# Number of images by batch size; the last batch is ragged, except for the first size. It never has as many
# images of each class: the gradients of blank ones would cancel and leave nothing but rounding errors.
COUNTS = {1: 12, 5: 16, 16: 37, 40: 37}


def make_images(kind, shape, *, seed=0):
    random = numpy.random.default_rng(seed)
    images = random.integers(0, 256, shape).astype(numpy.uint8)
    if kind == "float":
        return images / 255
    if kind == "blank":
        return numpy.zeros_like(images)
    if kind == "sparse":
        images[random.random(shape) < 0.8] = 0
    return images


@st.composite
def models(draw, n_in, n_out):
    """Return linear layers with activations between some of them, and perhaps before and after."""
    activations = st.sampled_from([*ACTIVATIONS, None])
    sizes = draw(st.lists(st.sampled_from([1, 3, 10, 17, 64, 70]), max_size=3))
    found = [draw(st.sampled_from([None, None, None, xpnet.Tanh]))]
    for pair in itertools.pairwise((n_in, *sizes, n_out)):
        found += [xpnet.Linear(*pair), draw(activations)]
    return xpnet.Sequential(
        *[layer if isinstance(layer, xpnet.Linear) else layer() for layer in found if layer]
    )


CONVOLUTIONS = xpnet.Sequential(
    xpnet.Unflatten(12, 13, 1),
    xpnet.Conv2d(1, 5, 3),
    xpnet.ReLU(),
    xpnet.MaxPool2d(2),
    xpnet.Residual(xpnet.Conv2d(5, 5, 3, groups=5), xpnet.LeakyReLU()),
    xpnet.Conv2d(5, 18, (2, 3), stride=2, padding="valid"),
    xpnet.ReLU(),
    xpnet.AvgPool2d(2, stride=1),
    xpnet.Flatten(),
    xpnet.Linear(36, 3),
)


@st.composite
def trainings(draw):
    """Return a model, images and labels, and the options of their training."""
    loss = draw(st.sampled_from(sorted(LOSSES)))
    n_in, n_out = draw(st.sampled_from([3, 29, 130])), draw(st.sampled_from([2, 3, 10]))
    if loss != "softmax_cross_entropy":
        n_out = draw(st.sampled_from([1, n_out]))
    batch_size = draw(st.sampled_from(sorted(COUNTS)))
    images = make_images(draw(st.sampled_from(IMAGES)), (COUNTS[batch_size], n_in))
    options = {
        "loss": loss,
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "batch_size": batch_size,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "scaling": draw(
            st.sampled_from(
                [Scaling(), Scaling(1 / 255, -0.5), Scaling(2 / 255, -1.0), Scaling(1 / 300, 0.125)]
            )
        ),
    }
    labels = numpy.arange(len(images)) % max(n_out, 2)
    return draw(models(n_in, n_out)), xpnet.Dataset(images, labels), options


def noting(function):
    """Return a function that counts as part of `xpnet`, so it may log its calls and still be replayed."""
    function.__module__ = "xpnet.losses"
    return function


def with_function(criterion, function):
    """Return a loss like another one, but with this function, which counts as part of `xpnet`."""

    @noting
    def called(self, xp, outputs, targets):
        return function(xp, outputs, targets)

    return type("Own", (type(criterion),), {"function": called, "__module__": "xpnet.losses"})()


def make_trainer(
    xp,
    model,
    data,
    *,
    loss="softmax_cross_entropy",
    optimizer=OPTIMIZERS[0],
    batch_size=16,
    seed=3,
    dtype="float64",
    scaling=None,
):
    """Return a trainer, and a list that grows with each step that runs in Python."""
    calls = []
    criterion = LOSSES[loss]

    @noting
    def function(xp, outputs, labels):
        calls.append(outputs.shape[0])
        return criterion.function(xp, outputs, labels)

    params = model.init(PLAIN, seed, dtype=dtype)
    params = {name: xp.asarray(p, copy=True) for name, p in params.items()}
    problem = Problem(model, with_function(criterion, function), scaling or Scaling(), dtype)
    options = {"optimizer": optimizer, "batch_size": batch_size, "seed": seed}
    return Trainer(xp, problem, params, data, **options), calls


def train(trainer, n, *, steps=12):
    """Train for at least this many steps, and return the losses of the epochs."""
    stream = xpnet.Stream(0, "shuffle")
    epochs = -(-steps // -(-n // trainer._batch_size))
    return [float(trainer.epoch(stream.permutation(n))) for _ in range(epochs)]


def assert_trained_alike(actual, expected, *, dtype="float64"):
    """Compare the parameters and the optimizer's states of two trainers."""
    assert list(actual.params) == list(expected.params)
    assert_states_alike(actual.params, expected.params, dtype=dtype)
    assert_states_alike(actual._state, expected._state, dtype=dtype)


def assert_states_alike(actual, expected, *, dtype):
    assert type(actual) is dict
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_states_alike(actual[key], value, dtype=dtype)
        elif isinstance(value, int):
            assert type(actual[key]) is int
            assert actual[key] == value
        else:
            assert actual[key].dtype == value.dtype == dtype
            assert_close(PLAIN, actual[key], value, dtype=dtype, factor=FACTOR)


def step(xp, params, images, labels, indices):
    """Do a step written out: a layer, a loss and a rule, which may overwrite the two parameters."""
    x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
    outputs = xp.nn.linear(x, params["weight"], params["bias"])
    loss, d_outputs = xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels, indices))
    _, d_weight, d_bias = xp.nn.linear_backward(x, params["weight"], d_outputs, input_gradient=False)
    new = {"weight": d_weight, "bias": d_bias}
    return {name: xp.nn.sgd_step(p, new[name], 0.5) for name, p in params.items()}, loss


def normalise(xp, running, x, scale, shift, dy):
    """A step that calls each function that normalises, on images or on rows."""
    y, mean, variance = xp.nn.batch_norm_training(x, scale, shift, eps=1e-5)
    grads = xp.nn.batch_norm_training_backward(x, scale, dy, eps=1e-5)
    others = xp.nn.batch_norm_training_backward(y, scale, dy, eps=1e-5)
    rows = xp.nn.layer_norm(y, scale, shift, eps=1e-5)
    row_grads = xp.nn.layer_norm_backward(x, scale, dy, eps=1e-5)
    used = xp.nn.batch_norm(rows, scale, shift, mean, variance, eps=1e-5)
    return xp.nn.moving_average(running, mean, momentum=0.1), grads, others, row_grads, used, variance


def make_rows(*shape, dtype="float32"):
    """Return arguments of `normalise`, where the mean is large beside the deviation."""
    random = numpy.random.default_rng(0)
    x, dy = (random.standard_normal(shape) + level for level in (9, 0))
    running, scale, shift = (random.random(shape[-1:]) + 0.5 for _ in range(3))
    return [array.astype(dtype) for array in (running, x, scale, shift, dy)]


def make_arguments(*, seed=0, kind="sparse", batch=16):
    """Return the arguments of such a step."""
    random = numpy.random.default_rng(seed)
    return (
        {
            "weight": random.normal(size=(29, 3)).astype(numpy.float32),
            "bias": random.normal(size=3).astype(numpy.float32),
        },
        make_images(kind, (37, 29), seed=seed),
        random.integers(0, 3, 37).astype(numpy.int32),
        random.permutation(37)[:batch].astype(numpy.int32),
    )


def copied(tree):
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)([copied(value) for value in tree])
    return numpy.array(tree) if isinstance(tree, numpy.ndarray) else tree


def assert_same(actual, expected, *, dtype="float32", factor=10.0):
    """Compare the results of a compiled step with those of the step."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e, dtype=dtype, factor=factor)
    elif isinstance(expected, numpy.ndarray | numpy.generic):
        assert actual.dtype == expected.dtype
        assert_close(PLAIN, actual, expected, dtype=dtype, factor=factor)
    else:
        assert type(actual) is type(expected)
        assert actual == expected


def shifted(x, shift=16):
    """Return a copy that begins this many bytes after the start of a cache line."""
    raw = numpy.zeros(64 + shift + x.nbytes, numpy.uint8)
    begin = -raw.ctypes.data % 64 + shift
    copy = raw[begin : begin + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def assert_trains_alike(xp, training):
    """Compare a training with one whose steps run as written."""
    model, data, options = training
    (mine, calls), (plain, _) = (make_trainer(n, model, data, **options) for n in (xp, PLAIN))
    sums, expected = train(mine, len(data)), train(plain, len(data))
    assert mine.compiled.report == ""
    assert all(calls.count(size) <= 2 for size in calls)  # Each batch size is recorded and tried once.
    dtype = options["dtype"]
    assert_trained_alike(mine, plain, dtype=dtype)
    assert_close(PLAIN, numpy.array(sums), expected, dtype=dtype, factor=FACTOR)
