"""Convolution and pooling against loops that follow their definitions, and against PyTorch if it is there."""

import itertools

import numpy as np
import pytest

from xpnet import nn
from xpnet.nn.windows import pair

PADDINGS = ["same", "valid", 1, 2, ((0, 1), (2, 0))]
STRIDES = [1, 2, (1, 3), (3, 2)]
DILATIONS = [1, 2, (1, 3)]
GROUPS = [1, 2, 4]  # 4 channels: the last is depthwise
CONVOLUTIONS = [
    {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for stride, padding, dilation, groups in itertools.product(STRIDES, PADDINGS, DILATIONS, GROUPS)
]
SIZES = [2, 3, (3, 1)]
POOLINGS = [
    {"size": size, "stride": stride, "padding": padding}
    for size, stride, padding in itertools.product(SIZES, STRIDES, ["same", "valid", ((1, 0), (0, 0))])
]


def sample(*shape, seed=0):
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def surrounded(x, size, stride, padding, fill):
    """Return padded images, as many rows and columns as the definition of each padding says."""
    around = [(padding, padding)] * 2 if isinstance(padding, int) else padding
    if padding == "valid":
        around = [(0, 0)] * 2
    elif padding == "same":
        around = []
        for length, reach, step in zip(x.shape[1:3], size, stride, strict=True):
            total = max(0, (int(np.ceil(length / step)) - 1) * step + reach - length)
            around.append((total // 2, (total + 1) // 2))
    return np.pad(x, [(0, 0), *around, (0, 0)], constant_values=fill)


def slid(x, size, stride, padding, dilation=(1, 1), fill=0.0):
    """Yield the place of each window, and what is in it."""
    reach = [(n - 1) * gap + 1 for n, gap in zip(size, dilation, strict=True)]
    x = surrounded(x, reach, stride, padding, fill)
    for i, top in enumerate(range(0, x.shape[1] - reach[0] + 1, stride[0])):
        for j, left in enumerate(range(0, x.shape[2] - reach[1] + 1, stride[1])):
            rows, columns = slice(top, top + reach[0], dilation[0]), slice(left, left + reach[1], dilation[1])
            yield (i, j), x[:, rows, columns, :]


def from_places(found):
    """Return images of the values at places, shape (batch, out_height, out_width, channels)."""
    rows, columns = (1 + max(place[axis] for place in found) for axis in (0, 1))
    return np.stack([np.stack([found[i, j] for j in range(columns)], axis=1) for i in range(rows)], axis=1)


def convolved(x, weight, bias, *, stride, padding, dilation, groups):
    found = {}
    inputs, outputs = weight.shape[2], weight.shape[3] // groups
    for place, window in slid(x, weight.shape[:2], pair("", stride), padding, pair("", dilation)):
        found[place] = bias + np.stack(
            [
                [
                    np.sum(
                        one[:, :, o // outputs * inputs : (o // outputs + 1) * inputs] * weight[:, :, :, o]
                    )
                    for o in range(weight.shape[3])
                ]
                for one in window
            ]
        )
    return from_places(found)


def assert_alike(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolution_is_the_sum_over_each_window(options):
    for batch, height, width in [(2, 7, 8), (1, 9, 7)]:
        x, bias = sample(batch, height, width, 4), sample(8, seed=2)
        for size in [(3, 3), (2, 1)]:
            weight = sample(*size, 4 // options["groups"], 8, seed=1)
            found = nn.conv2d(np, x, weight, bias, **options)
            assert_alike(found, convolved(x, weight, bias, **options))


def test_convolution_of_images_of_height_one_is_that_of_sequences():
    x, weight = sample(1, 1, 20, 1), sample(1, 5, 1, 1, seed=1)
    found = nn.conv2d(np, x, weight, np.zeros(1), padding="valid")
    assert_alike(found.ravel(), np.correlate(x.ravel(), weight.ravel(), "valid"))


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_gradients_of_a_convolution_are_the_adjoint_of_its_definition(options):
    """Compare products with random arrays: a convolution is linear in images and in weights."""
    x, weight = sample(2, 5, 7, 4), sample(3, 2, 4 // options["groups"], 4, seed=1)
    zero = np.zeros(4)
    dy = sample(*convolved(x, weight, zero, **options).shape, seed=3)
    dx, d_weight, d_bias = nn.conv2d_backward(np, x, weight, dy, **options)
    assert (dx.shape, d_weight.shape) == (x.shape, weight.shape)
    assert_alike(d_bias, dy.sum((0, 1, 2)))
    for seed in range(3):
        other_x, other_weight = sample(*x.shape, seed=seed + 4), sample(*weight.shape, seed=seed + 9)
        by_x = np.sum(dy * convolved(other_x, weight, zero, **options))
        by_weight = np.sum(dy * convolved(x, other_weight, zero, **options))
        assert np.sum(dx * other_x) == pytest.approx(by_x, abs=1e-10)
        assert np.sum(d_weight * other_weight) == pytest.approx(by_weight, abs=1e-10)


@pytest.mark.parametrize("options", POOLINGS, ids=str)
def test_pooling_is_the_maximum_or_the_mean_of_each_window(options):
    size, stride = pair("", options["size"]), pair("", options["stride"])
    for shape in [(2, 7, 8, 3), (1, 6, 5, 1)]:
        x = sample(*shape)
        windows = dict(slid(x, size, stride, options["padding"], fill=np.nan))
        largest = {place: np.nanmax(window, axis=(1, 2)) for place, window in windows.items()}
        means = {place: np.nanmean(window, axis=(1, 2)) for place, window in windows.items()}
        assert_alike(nn.max_pool2d(np, x, **options), from_places(largest))
        assert_alike(nn.avg_pool2d(np, x, **options), from_places(means))


def test_gradient_of_a_maximum_goes_to_the_first_of_several():
    x, y = np.ones((1, 2, 2, 1)), np.ones((1, 1, 1, 1))
    dx = nn.max_pool2d_backward(np, x, y, 3 * y, size=2, stride=2)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[3, 0], [0, 0]])


def test_gradient_of_overlapping_windows_adds_up():
    x = np.array([[[[1.0], [5.0], [2.0]]]])
    y = nn.max_pool2d(np, x, size=(1, 2), stride=1)
    dx = nn.max_pool2d_backward(np, x, y, np.ones_like(y), size=(1, 2), stride=1)
    np.testing.assert_array_equal(dx.ravel(), [0, 2, 0])


def test_layer_norm_gives_rows_of_mean_shift_and_deviation_scale():
    y = nn.layer_norm(np, sample(3, 50), np.full(50, 2.0), np.full(50, 7.0), eps=1e-12)
    np.testing.assert_allclose(y.mean(axis=1), 7.0)
    np.testing.assert_allclose(y.std(axis=1), 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "full"}, r"`padding` must be 'same', 'valid', a whole number or .*, got 'full'"),
        ({"padding": -1}, r"`padding` must be .*, got -1"),
        ({"padding": (1, 2)}, r"`padding` must be .*, got \(1, 2\)"),
        ({"padding": ((1, 2),)}, r"`padding` must be .*, got \(\(1, 2\),\)"),
        (
            {"stride": 0},
            r"`stride` must be a whole number from 1 on, or one for height and one for width, got 0",
        ),
        ({"stride": (1, 2, 3)}, r"`stride` must be .*, got \(1, 2, 3\)"),
        ({"dilation": True}, r"`dilation` must be .*, got True"),
        (
            {"padding": "valid", "dilation": 4},
            r"a window of \(9, 9\) is larger than an image of \(5, 6\), which ",
        ),
    ],
)
def test_bad_option_is_refused(options, message):
    x, weight, bias = sample(1, 5, 6, 2), sample(3, 3, 2, 2), sample(2)
    with pytest.raises(ValueError, match=message):
        nn.conv2d(np, x, weight, bias, **options)


@pytest.mark.parametrize(("groups", "n_out"), [(1, 2), (3, 3), (2, 3), (4, 4)])
def test_groups_and_channels_that_do_not_fit_are_refused(groups, n_out):
    x, weight, bias = sample(1, 5, 6, 4), sample(3, 3, 2, n_out), sample(n_out)
    message = rf"a weight of shape \(3, 3, 2, {n_out}\) in {groups} groups .* the shape \(1, 5, 6, 4\)"
    with pytest.raises(ValueError, match=message):
        nn.conv2d(np, x, weight, bias, groups=groups)
    with pytest.raises(ValueError, match=message):
        nn.conv2d_backward(np, x, weight, np.zeros((1, 5, 6, n_out)), groups=groups)


def test_pool_of_nothing_but_padding_is_refused():
    with pytest.raises(ValueError, match="`padding` of 2 and 2 is not below the size 2"):
        nn.max_pool2d(np, sample(1, 4, 4, 1), size=2, stride=2, padding=2)


@pytest.mark.parametrize("options", [c for c in CONVOLUTIONS if isinstance(c["padding"], int)], ids=str)
def test_convolution_agrees_with_pytorch(options):
    torch = pytest.importorskip("torch")
    x, weight, bias = sample(2, 8, 7, 4), sample(3, 2, 4 // options["groups"], 8), sample(8)
    theirs = [
        torch.tensor(array, requires_grad=True)
        for array in (x.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1), bias)
    ]
    y = torch.nn.functional.conv2d(*theirs, **options)
    found = nn.conv2d(np, x, weight, bias, **options)
    assert_alike(found, y.detach().numpy().transpose(0, 2, 3, 1))
    y.backward(torch.ones_like(y))
    gradients = nn.conv2d_backward(np, x, weight, np.ones_like(found), **options)
    for gradient, other, order in zip(gradients, theirs, [(0, 2, 3, 1), (2, 3, 1, 0), (0,)], strict=True):
        np.testing.assert_allclose(gradient, other.grad.numpy().transpose(order), atol=1e-10)
