"""Pooling of images by kernels of `pooling.cu`."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy

from xpnet.nn import windows
from xpnet.nn.windows import Around, Size, Stride, Window
from xpnet_cupy import kernels, launch

Array = Any

_SIDE = numpy.dtype([(name, "int32") for name in ("length", "out", "size", "stride", "before")])
_POOLING = numpy.dtype([("rows", _SIDE), ("columns", _SIDE), ("channels", "int32")])


def max_pool2d(x: Array, *, size: Size, stride: Stride, padding: Around = "valid") -> Array:
    """See `xpnet.nn.max_pool2d`."""
    over = _over(x, size, stride, padding)
    return _run("max_pool2d", _pooled(x, over), over, x, fill=True)


def max_pool2d_backward(
    x: Array, y: Array, dy: Array, *, size: Size, stride: Stride, padding: Around = "valid"
) -> Array:
    """See `xpnet.nn.max_pool2d_backward`."""
    over = _over(x, size, stride, padding)
    return _run("max_pool2d_backward", x.shape, over, x, y, dy, fill=True)


def avg_pool2d(x: Array, *, size: Size, stride: Stride, padding: Around = "valid") -> Array:
    """See `xpnet.nn.avg_pool2d`."""
    over = _over(x, size, stride, padding)
    return _run("avg_pool2d", _pooled(x, over), over, x)


def avg_pool2d_backward(
    x: Array, dy: Array, *, size: Size, stride: Stride, padding: Around = "valid"
) -> Array:
    """See `xpnet.nn.avg_pool2d_backward`."""
    return _run("avg_pool2d_backward", x.shape, _over(x, size, stride, padding), dy)


def global_avg_pool2d(x: Array) -> Array:
    """See `xpnet.nn.global_avg_pool2d`."""
    batch, height, width, channels = x.shape
    y, pixels = cupy.empty((batch, channels), x.dtype), height * width
    size = y.size, launch.threads(pixels)
    kernels.run("global_avg_pool2d", *size, kernels.ready(x, x.dtype), y, pixels, channels, T=x.dtype)
    return y


def global_avg_pool2d_backward(x: Array, dy: Array) -> Array:
    """See `xpnet.nn.global_avg_pool2d_backward`."""
    dx, pixels = cupy.empty(x.shape, x.dtype), math.prod(x.shape[1:3])
    last = kernels.ready(dy, x.dtype), dx, dx.size, pixels, x.shape[3]
    kernels.run("global_avg_pool2d_backward", launch.blocks(dx.size), launch.THREADS, *last, T=x.dtype)
    return dx


def _over(x: Array, size: Size, stride: Stride, padding: Around) -> tuple[Window, Window]:
    return windows.pool_windows(windows.lengths_of(x.shape), size, stride=stride, padding=padding)


def _pooled(x: Array, over: tuple[Window, Window]) -> tuple[int, ...]:
    return x.shape[0], over[0].out, over[1].out, x.shape[3]


def _run(
    name: str, shape: tuple[int, ...], over: tuple[Window, Window], *arrays: Array, fill: bool = False
) -> Array:
    """Return what a kernel makes of arrays; it may be told what the padding is filled with."""
    dtype = arrays[0].dtype
    made, inputs = cupy.empty(shape, dtype), [kernels.ready(x, dtype) for x in arrays]
    sides = [(w.length, w.out, w.size, w.stride, w.before) for w in over]
    of = numpy.array((*sides, shape[3]), _POOLING)
    last = made.size, *([dtype.type(-numpy.inf)] if fill else []), of
    kernels.run(name, launch.blocks(made.size), launch.THREADS, *inputs, made, *last, T=dtype)
    return made
