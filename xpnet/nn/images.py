"""Convolution of images ``(batch, height, width, channels)`` and its gradients.

`stride`, `padding` and `dilation` are described in `xpnet.nn.windows`. "Convolution" is cross-correlation, as
in all libraries for neural networks: the weight is not flipped. Dumoulin and Visin, "A guide to convolution
arithmetic for deep learning" (2016), derive shapes and gradients.

The convolution of sequences ``(batch, length, channels)`` is that of images of height 1: pass them as
``(batch, 1, length, channels)``, a weight ``(1, kernel_width, channels / groups, n_out)``, and strides and
dilations as pairs that begin with 1.
"""

from collections.abc import Mapping
from typing import Any

from xpnet.nn import windows
from xpnet.nn.declaration import function
from xpnet.nn.windows import Around, Dilation, Groups, Stride, Window

Array = Any


def _convolved(
    image: tuple[int, int], lengths: Mapping[str, int], given: Mapping[str, Any]
) -> tuple[Window, Window]:
    size = lengths["kernel_height"], lengths["kernel_width"]
    return windows.windows(image, size, **{name: given[name] for name in ("stride", "padding", "dilation")})


def _group_channels(lengths: Mapping[str, int], given: Mapping[str, Any]) -> int:
    channels, n_out, groups = lengths["channels"], lengths["n_out"], given["groups"]
    if not 0 < groups <= channels or channels % groups or n_out % groups:
        raise ValueError(f"`groups` {groups!r} does not divide {channels} channels and {n_out} outputs")
    return channels // groups


_CONVOLUTION: Any = {
    "computed": {**windows.out_lengths(_convolved), "group_channels": _group_channels},
    "drawable": {**windows.SIDES, "kernel_height": (1, 2, 3), "kernel_width": (1, 3), "n_out": (6, 12)},
}


@function(
    "x: batch height width channels, weight: kernel_height kernel_width group_channels n_out, bias: n_out"
    " -> y: batch out_height out_width n_out",
    gradient="conv2d_backward",
    **_CONVOLUTION,
)
def conv2d(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array,
    *,
    stride: Stride = 1,
    padding: Around = "same",
    dilation: Dilation = 1,
    groups: Groups = 1,
) -> Array:
    """Return the convolution of images with a weight, plus `bias`.

    Output ``(r, c)`` is the sum of ``weight[i, j] * x[r * stride + i * dilation - top, ...]`` over the
    kernel, with zeros in the padding.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    weight : array, shape (kernel_height, kernel_width, channels / groups, n_out)
    bias : array, shape (n_out,)
    stride, padding, dilation
        See `xpnet.nn.windows`.
    groups : int
        Channels and outputs are divided into so many groups, in order; each group of outputs reads its own
        group of channels. As many groups as channels is the depthwise convolution.

    Returns
    -------
    y : array, shape (batch, out_height, out_width, n_out)
    """
    over = _over(x, weight, groups, stride=stride, padding=padding, dilation=dilation)
    z = _correlated(xp, x, weight, over, groups)
    z += bias
    return z


@function(
    "x: batch height width channels, weight: kernel_height kernel_width group_channels n_out,"
    " dy: batch out_height out_width n_out"
    " -> dx: ? batch height width channels, d_weight: kernel_height kernel_width group_channels n_out,"
    " d_bias: n_out",
    **_CONVOLUTION,
)
def conv2d_backward(
    xp: Any,
    x: Array,
    weight: Array,
    dy: Array,
    *,
    stride: Stride = 1,
    padding: Around = "same",
    dilation: Dilation = 1,
    groups: Groups = 1,
    input_gradient: bool = True,
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of ``conv2d(x, weight, bias)``.

    Parameters
    ----------
    x, weight, stride, padding, dilation, groups
        Those of `conv2d`.
    dy : array, shape (batch, out_height, out_width, n_out)
    input_gradient : bool
        Whether `dx` is wanted; the first layer of a model in training does without.

    Returns
    -------
    dx : array, shape of `x`, or None
    d_weight : array, shape of `weight`
    d_bias : array, shape (n_out,)
    """
    over = _over(x, weight, groups, stride=stride, padding=padding, dilation=dilation)
    columns = _columns(xp, x, over, groups)
    rows = _grouped(xp, dy, groups)
    d_weight = _product(xp, xp.matrix_transpose(columns), rows)  # (groups, kernel * group_channels, outputs)
    kernel_height, kernel_width, channels, n_out = weight.shape
    d_weight = xp.permute_dims(
        xp.reshape(d_weight, (groups, kernel_height * kernel_width, channels, n_out // groups)), (1, 2, 0, 3)
    )
    dx = _input_gradient(xp, weight, dy, over, groups) if input_gradient else None
    return dx, xp.reshape(d_weight, weight.shape), xp.sum(dy, axis=(0, 1, 2))


def _over(x: Array, weight: Array, groups: int, **options: Any) -> tuple[Window, Window]:
    """Return the windows over images, or raise ValueError unless images and weight fit together."""
    lengths = windows.lengths_of(x.shape)
    channels, (*size, group_channels, n_out) = x.shape[3], weight.shape
    if groups * group_channels != channels or n_out % groups:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} in {groups!r} groups takes {groups * group_channels} "
            f"channels and gives a multiple of {groups!r}, but the images have the shape {tuple(x.shape)}"
        )
    return windows.windows(lengths, (size[0], size[1]), **options)


def _input_gradient(xp: Any, weight: Array, dy: Array, over: tuple[Window, Window], groups: int) -> Array:
    """Return the convolution of `dy`, with zeros between its elements, with the weight turned around."""
    kernel_height, kernel_width, channels, n_out = weight.shape
    grouped = xp.reshape(weight, (kernel_height, kernel_width, channels, groups, n_out // groups))
    turned = xp.flip(xp.permute_dims(grouped, (0, 1, 4, 3, 2)), axis=(0, 1))
    turned = xp.reshape(turned, (kernel_height, kernel_width, n_out // groups, groups * channels))
    dy = windows.spread(xp, dy, (over[0].stride, over[1].stride))
    around = []
    for window, length in zip(over, dy.shape[1:3], strict=True):
        before = window.reach - 1 - window.before
        around.append((before, window.length + window.reach - 1 - before - length))
    dy = windows.padded(xp, dy, (around[0], around[1]))
    back = [Window(n, w.size, 1, w.dilation, 0, 0) for w, n in zip(over, dy.shape[1:3], strict=True)]
    return _correlated(xp, dy, turned, (back[0], back[1]), groups)


def _correlated(xp: Any, x: Array, weight: Array, over: tuple[Window, Window], groups: int) -> Array:
    """Return the products of all windows with the weight, by one matrix product for each group."""
    *_, n_out = weight.shape
    columns = _columns(xp, x, over, groups)
    matrix = _grouped(xp, weight, groups)  # (groups, kernel * group_channels, outputs of a group)
    y = xp.permute_dims(_product(xp, columns, matrix), (1, 0, 2))
    return xp.reshape(y, (x.shape[0], over[0].out, over[1].out, n_out))


def _columns(xp: Any, x: Array, over: tuple[Window, Window], groups: int) -> Array:
    """Return what is in each window, shape (groups, windows, kernel * group_channels)."""
    channels = x.shape[3]
    columns = xp.concat(windows.elements(xp, x, over), axis=3)
    size = over[0].size * over[1].size
    columns = xp.reshape(columns, (-1, size, groups, channels // groups))
    columns = xp.permute_dims(columns, (2, 0, 1, 3))
    return xp.reshape(columns, (groups, columns.shape[1], size * (channels // groups)))


def _grouped(xp: Any, x: Array, groups: int) -> Array:
    """Return an array by groups of its last axis, shape (groups, all other axes, elements of a group)."""
    return xp.permute_dims(xp.reshape(x, (-1, groups, x.shape[-1] // groups)), (1, 0, 2))


def _product(xp: Any, x1: Array, x2: Array) -> Array:
    """Return products of matrices; of one pair by a plain product, which a backend may have a kernel for."""
    if x1.shape[0] == 1:
        return xp.expand_dims(xp.matmul(x1[0, ...], x2[0, ...]), axis=0)
    return xp.matmul(x1, x2)
