"""Pooling of images ``(batch, height, width, channels)`` and its gradients.

`size`, `stride` and `padding` are described in `xpnet.nn.windows`.
"""

import functools
import operator
from collections.abc import Mapping
from typing import Any

from xpnet.nn import windows
from xpnet.nn.declaration import function
from xpnet.nn.windows import Around, Size, Stride, Window

Array = Any


def _pooled(
    image: tuple[int, int], lengths: Mapping[str, int], given: Mapping[str, Any]
) -> tuple[Window, Window]:
    return windows.pool_windows(image, **{name: given[name] for name in ("size", "stride", "padding")})


_POOLING: Any = {"computed": windows.out_lengths(_pooled), "drawable": windows.SIDES}


@function(
    "x: batch height width channels -> y: batch out_height out_width channels",
    gradient="max_pool2d_backward",
    **_POOLING,
)
def max_pool2d(xp: Any, x: Array, *, size: Size, stride: Stride, padding: Around = "valid") -> Array:
    """Return the largest element of each window, by channel.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    size, stride, padding
        See `xpnet.nn.windows`; padding is never the largest.

    Returns
    -------
    y : array, shape (batch, out_height, out_width, channels)
    """
    over = windows.pool_windows(windows.lengths_of(x.shape), size, stride=stride, padding=padding)
    return functools.reduce(xp.maximum, windows.elements(xp, x, over, fill=-float("inf")))


@function(
    "x: batch height width channels, y: batch out_height out_width channels,"
    " dy: batch out_height out_width channels -> dx: batch height width channels",
    **_POOLING,
)
def max_pool2d_backward(
    xp: Any, x: Array, y: Array, dy: Array, *, size: Size, stride: Stride, padding: Around = "valid"
) -> Array:
    """Return the gradient at the input of ``y = max_pool2d(x)``: `dy` at the first largest of each window.

    Parameters
    ----------
    x, size, stride, padding
        Those of `max_pool2d`.
    y, dy : array, shape (batch, out_height, out_width, channels)

    Returns
    -------
    dx : array, shape of `x`
    """
    over = windows.pool_windows(windows.lengths_of(x.shape), size, stride=stride, padding=padding)
    is_left, parts = None, []
    for element in windows.elements(xp, x, over, fill=-float("inf")):
        is_largest = element == y
        is_first = is_largest if is_left is None else xp.logical_and(is_largest, is_left)
        parts.append(xp.where(is_first, dy, xp.zeros_like(dy)))
        others = xp.logical_not(is_largest)
        is_left = others if is_left is None else xp.logical_and(is_left, others)
    return windows.gathered(xp, parts, over)


@function(
    "x: batch height width channels -> y: batch out_height out_width channels",
    gradient="avg_pool2d_backward",
    **_POOLING,
)
def avg_pool2d(xp: Any, x: Array, *, size: Size, stride: Stride, padding: Around = "valid") -> Array:
    """Return the mean of each window, by channel, over what is in the image: padding does not count.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    size, stride, padding
        See `xpnet.nn.windows`.

    Returns
    -------
    y : array, shape (batch, out_height, out_width, channels)
    """
    over = windows.pool_windows(windows.lengths_of(x.shape), size, stride=stride, padding=padding)
    return _sums(xp, x, over) / _counts(xp, x, over)


@function(
    "x: batch height width channels, dy: batch out_height out_width channels"
    " -> dx: batch height width channels",
    **_POOLING,
)
def avg_pool2d_backward(
    xp: Any, x: Array, dy: Array, *, size: Size, stride: Stride, padding: Around = "valid"
) -> Array:
    """Return the gradient at the input of ``avg_pool2d(x)``.

    Parameters
    ----------
    x, size, stride, padding
        Those of `avg_pool2d`.
    dy : array, shape (batch, out_height, out_width, channels)

    Returns
    -------
    dx : array, shape of `x`
    """
    over = windows.pool_windows(windows.lengths_of(x.shape), size, stride=stride, padding=padding)
    share = dy / _counts(xp, x, over)
    dx = windows.gathered(xp, [share] * (over[0].size * over[1].size), over)
    return xp.reshape(dx, x.shape)


def _counts(xp: Any, x: Array, over: tuple[Window, Window]) -> Array:
    """Return how many elements of the image each window has, shape (1, out_height, out_width, 1)."""
    return _sums(xp, xp.ones((1, *x.shape[1:3], 1), dtype=x.dtype), over)


def _sums(xp: Any, x: Array, over: tuple[Window, Window]) -> Array:
    return functools.reduce(operator.add, windows.elements(xp, x, over))


@function(
    "x: batch height width channels -> y: batch channels",
    gradient="global_avg_pool2d_backward",
    drawable=windows.SIDES,
)
def global_avg_pool2d(xp: Any, x: Array) -> Array:
    """Return the mean of each channel over all of the image.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float

    Returns
    -------
    y : array, shape (batch, channels)
    """
    return xp.mean(x, axis=(1, 2))


@function(
    "x: batch height width channels, dy: batch channels -> dx: batch height width channels",
    drawable=windows.SIDES,
)
def global_avg_pool2d_backward(xp: Any, x: Array, dy: Array) -> Array:
    """Return the gradient at the input of ``global_avg_pool2d(x)``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    dy : array, shape (batch, channels)

    Returns
    -------
    dx : array, shape of `x`
    """
    batch, height, width, channels = x.shape
    return xp.zeros_like(x) + xp.reshape(dy / (height * width), (batch, 1, 1, channels))
