"""Functions of `nn` on every backend, and their gradients, against PyTorch's."""

import itertools
import math

import numpy as np
import pytest
from checking import assert_close, has, put

import xpnet
from xpnet import nn
from xpnet.nn.windows import pair

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; install it with `pip install 'xpnet[test-torch]'`"
)
F = torch.nn.functional

# Times the tolerance of values: sums are in another order, and those of a weight are over all images.
FACTOR = {"float32": 8, "float64": 30}
# Batch, height and width.
SHAPES = [(2, 7, 8), (1, 9, 7)]
KERNELS = [(3, 3), (2, 1)]
STRIDES = [1, (3, 2)]
PADDINGS = ["same", "valid", 1, ((0, 1), (2, 0))]
WINDOWS = [(1, 1), ((3, 2), 1), (2, (1, 2))]  # stride and dilation
GROUPS = [1, 2, 4]  # 4 channels: the last is depthwise
CONVOLUTIONS = [
    {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for (stride, dilation), padding, groups in itertools.product(WINDOWS, PADDINGS, GROUPS)
]
POOLINGS = [
    {"size": size, "stride": stride, "padding": padding}
    for size, stride, padding in itertools.product([2, (3, 2)], STRIDES, [*PADDINGS[:3], ((0, 1), (1, 0))])
]
NCHW, NHWC, OIHW, HWIO = (0, 3, 1, 2), (0, 2, 3, 1), (3, 2, 0, 1), (2, 3, 1, 0)
ACTIVATIONS = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "leaky_relu": lambda z, slope: F.leaky_relu(z, slope),
    "gelu": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "softmax": lambda z: F.softmax(z, dim=-1),
    "log_softmax": lambda z: F.log_softmax(z, dim=-1),
}


@pytest.fixture(
    scope="module", params=["twins", "numpy", "numba", pytest.param("cupy", marks=pytest.mark.gpu)]
)
def xp(request):
    """Return the portable functions on NumPy, or a backend."""
    if request.param == "twins":
        return xpnet.Namespace("twins", np)
    try:
        return xpnet.backend(request.param)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))


@pytest.fixture(params=["float32", "float64"])
def dtype(request, xp):
    if not has(xp, request.param):
        pytest.skip(f"{xp.device} has no {request.param}")
    return request.param


def sample(dtype, *shape, seed=0):
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape).astype(dtype)


def derived(function, arrays, dy):
    """Return what PyTorch's `function` makes of arrays, and the gradient at each of them."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    y = function(*tensors)
    y.backward(torch.tensor(dy))
    return y.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]


def around(lengths, reach, stride, padding):
    """Return the padding of images ``(batch, channels, height, width)`` as `pad` of PyTorch takes it."""
    if isinstance(padding, int):
        return (padding,) * 4
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        totals = [
            max(0, (math.ceil(length / step) - 1) * step + long - length)
            for length, long, step in zip(lengths, reach, stride, strict=True)
        ]
        padding = [(total // 2, total - total // 2) for total in totals]
    return *padding[1], *padding[0]


def is_within(x, reach, padding):
    """Return whether a window fits in a padded image."""
    left, right, top, bottom = around(x.shape[1:3], reach, (1, 1), padding)
    return reach[0] <= top + x.shape[1] + bottom and reach[1] <= left + x.shape[2] + right


def assert_alike(xp, found, expected, dtype):
    for own, other in zip(found, expected, strict=True):
        assert own.dtype == getattr(xp, dtype)
        assert_close(xp, own, other, dtype=dtype, factor=FACTOR[dtype])


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolution_and_its_gradients(xp, dtype, options):
    stride, dilation = pair("", options["stride"]), pair("", options["dilation"])
    for (batch, height, width), size in itertools.product(SHAPES, KERNELS):
        x, bias = sample(dtype, batch, height, width, 4), sample(dtype, 8, seed=1)
        weight = sample(dtype, *size, 4 // options["groups"], 8, seed=2)
        reach = [(n - 1) * gap + 1 for n, gap in zip(size, dilation, strict=True)]
        if not is_within(x, reach, options["padding"]):
            continue
        pads = around((height, width), reach, stride, options["padding"])

        def theirs(x, weight, bias, pads=pads):
            x = F.pad(x.permute(NCHW), pads)
            y = F.conv2d(x, weight.permute(OIHW), bias, stride, 0, dilation, options["groups"])
            return y.permute(NHWC)

        images, weights = put(xp, x), put(xp, weight)
        y = xp.nn.conv2d(images, weights, put(xp, bias), **options)
        dy = sample(dtype, *y.shape, seed=3)
        gradients = xp.nn.conv2d_backward(images, weights, put(xp, dy), **options)
        expected, others = derived(theirs, (x, weight, bias), dy)
        assert_alike(xp, [y, *gradients], [expected, *others], dtype)


def largest(x, pads, size, stride):
    return F.max_pool2d(F.pad(x, pads, value=-math.inf), size, stride)


def mean(x, pads, size, stride):
    # PyTorch's padding is the same on both sides; here, as there, it does not count.
    if len(set(pads)) == 1 and 2 * pads[0] <= min(size):
        return F.avg_pool2d(x, size, stride, pads[0], count_include_pad=False)
    counted = F.avg_pool2d(F.pad(torch.ones_like(x), pads), size, stride)
    return F.avg_pool2d(F.pad(x, pads), size, stride) / counted


@pytest.mark.parametrize("options", POOLINGS, ids=str)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_pooling_and_its_gradient(xp, dtype, name, options):
    size, stride = pair("", options["size"]), pair("", options["stride"])
    function = {"max_pool2d": largest, "avg_pool2d": mean}[name]
    for batch, height, width in SHAPES:
        x = sample(dtype, batch, height, width, 3)
        pads = around((height, width), size, stride, options["padding"])

        def theirs(x, pads=pads):
            return function(x.permute(NCHW), pads, size, stride).permute(NHWC)

        images = put(xp, x)
        y = getattr(xp.nn, name)(images, **options)
        dy = sample(dtype, *y.shape, seed=1)
        kept = (images, y) if name == "max_pool2d" else (images,)
        dx = getattr(xp.nn, f"{name}_backward")(*kept, put(xp, dy), **options)
        expected, others = derived(theirs, [x], dy)
        assert_alike(xp, [y, dx], [expected, *others], dtype)


def test_global_mean_and_its_gradient(xp, dtype):
    for shape in SHAPES:
        x, dy = sample(dtype, *shape, 3), sample(dtype, shape[0], 3, seed=1)
        expected, others = derived(lambda x: F.adaptive_avg_pool2d(x.permute(NCHW), 1).flatten(1), [x], dy)
        images = put(xp, x)
        found = [xp.nn.global_avg_pool2d(images), xp.nn.global_avg_pool2d_backward(images, put(xp, dy))]
        assert_alike(xp, found, [expected, *others], dtype)


@pytest.mark.parametrize("shape", [(6, 9), (1, 5), (2, 4, 3, 7)], ids=str)
def test_layer_norm_and_its_gradients(xp, dtype, shape):
    x, dy = sample(dtype, *shape), sample(dtype, *shape, seed=1)
    scale, shift = sample(dtype, shape[-1], seed=2), sample(dtype, shape[-1], seed=3)
    expected, others = derived(
        lambda *given: F.layer_norm(given[0], shape[-1:], *given[1:]), (x, scale, shift), dy
    )
    arrays = put(xp, x), put(xp, scale)
    y = xp.nn.layer_norm(*arrays, put(xp, shift), eps=1e-5)
    gradients = xp.nn.layer_norm_backward(*arrays, put(xp, dy), eps=1e-5)
    assert_alike(xp, [y, *gradients], [expected, *others], dtype)


@pytest.mark.parametrize("shape", [(6, 3), (3, 1), (2, 4, 3, 5), (1, 3, 2, 4)], ids=str)
def test_batch_norm_and_its_gradients(xp, dtype, shape):
    x, dy = sample(dtype, *shape), sample(dtype, *shape, seed=1)
    scale, shift = sample(dtype, shape[-1], seed=2), sample(dtype, shape[-1], seed=3)

    def theirs(x, scale, shift):
        channels_second = x.movedim(-1, 1)
        return F.batch_norm(channels_second, None, None, scale, shift, training=True).movedim(1, -1)

    expected, others = derived(theirs, (x, scale, shift), dy)
    arrays = put(xp, x), put(xp, scale)
    y, _, _ = xp.nn.batch_norm_training(*arrays, put(xp, shift), eps=1e-5)
    gradients = xp.nn.batch_norm_training_backward(*arrays, put(xp, dy), eps=1e-5)
    assert_alike(xp, [y, *gradients], [expected, *others], dtype)


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2, 5)])
def test_batch_norm_layer_in_training_and_in_use(xp, dtype, shape):
    layer, params = (
        xpnet.BatchNorm(5, momentum=0.3),
        {"scale": 2.0, "shift": -1.0, "mean": 0.0, "variance": 1.0},
    )
    params = {name: xp.asarray(np.full(5, value, dtype)) for name, value in params.items()}
    theirs = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(5, momentum=0.3)
    theirs = theirs.to(getattr(torch, dtype))
    torch.nn.init.constant_(theirs.weight, 2.0)
    torch.nn.init.constant_(theirs.bias, -1.0)
    for seed in range(3):
        x = sample(dtype, *shape, seed=seed)
        y, _, state = layer.train(xp, params, put(xp, x))
        params |= state
        expected = theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)
        running = theirs.running_mean, theirs.running_var
        found = [y, params["mean"], params["variance"]]
        assert_alike(xp, found, [z.detach().numpy() for z in (expected, *running)], dtype)
    theirs.eval()
    y, _ = layer(xp, params, put(xp, x))
    assert_alike(xp, [y], [theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1).detach().numpy()], dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_its_gradient(xp, dtype, name):
    options = {"slope": 0.2} if name == "leaky_relu" else {}
    z, dy = 3 * sample(dtype, 40, 7), sample(dtype, 40, 7, seed=1)
    expected, others = derived(lambda z: ACTIVATIONS[name](z, **options), [z], dy)
    given = put(xp, z)
    y = getattr(xp.nn, name)(given, **options)
    reads = next(iter(nn.FUNCTIONS[f"{name}_backward"].arguments))
    dz = getattr(xp.nn, f"{name}_backward")(y if reads == "y" else given, put(xp, dy), **options)
    assert_alike(xp, [y, dz], [expected, *others], dtype)


@pytest.mark.parametrize("batch", [1, 33])
def test_losses_and_their_gradients(xp, dtype, batch):
    logits, targets = sample(dtype, batch, 10), np.abs(np.tanh(sample(dtype, batch, 10, seed=1)))
    labels = np.arange(batch, dtype=np.int32) * 7 % 10
    given, one = put(xp, logits), np.ones((), dtype)
    for found, theirs in (
        (
            xp.nn.softmax_cross_entropy(given, put(xp, labels)),
            lambda z: F.cross_entropy(z, torch.tensor(labels, dtype=torch.int64)),
        ),
        (
            xp.nn.sigmoid_cross_entropy(given, put(xp, targets)),
            lambda z: F.binary_cross_entropy_with_logits(z, torch.tensor(targets)),
        ),
        (xp.nn.squared_error(given, put(xp, targets)), lambda z: F.mse_loss(z, torch.tensor(targets))),
    ):
        expected, others = derived(theirs, [logits], one)
        assert_alike(xp, found, [expected, *others], dtype)
