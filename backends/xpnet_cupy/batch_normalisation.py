"""Batch normalisation by kernels of `batch_normalisation.cu`."""

from __future__ import annotations

from typing import Any

import cupy

from xpnet_cupy import kernels, launch, rules
from xpnet_cupy.normalisation import column_sums

Array = Any


def batch_norm(x: Array, scale: Array, shift: Array, mean: Array, variance: Array, *, eps: float) -> Array:
    """See `xpnet.nn.batch_norm`."""
    dtype, y = x.dtype, cupy.empty(x.shape, x.dtype)
    inputs = [kernels.ready(array, dtype) for array in (x, scale, shift, mean, variance)]
    _run("batch_norm", *inputs, y, of=x, numbers=[eps])
    return y


def batch_norm_backward(
    x: Array, scale: Array, mean: Array, variance: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array, Array, Array]:
    """See `xpnet.nn.batch_norm_backward`."""
    given = x, scale, mean, variance, dy
    x, scale, mean, variance, dy = (kernels.ready(array, x.dtype) for array in given)
    products, d_shift = column_sums(dy, x, mean)
    dx, d_scale, d_mean, d_variance = (cupy.empty(a.shape, x.dtype) for a in (x, scale, scale, scale))
    made = dx, d_scale, d_mean, d_variance
    _run("batch_norm_backward", dy, scale, variance, products, d_shift, *made, of=x, numbers=[eps])
    return dx, d_scale, d_shift, d_mean, d_variance


def batch_norm_training(x: Array, scale: Array, shift: Array, *, eps: float) -> tuple[Array, Array, Array]:
    """See `xpnet.nn.batch_norm_training`."""
    x, scale, shift = (kernels.ready(array, x.dtype) for array in (x, scale, shift))
    y, mean, variance = made = [cupy.empty(a.shape, x.dtype) for a in (x, scale, scale)]
    rows = launch.rows(x.shape)
    numbers = rows, rows / max(rows - 1, 1), eps
    _run("batch_norm_training", x, scale, shift, *_moments(x), *made, of=x, numbers=numbers)
    return y, mean, variance


def batch_norm_training_backward(
    x: Array, scale: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """See `xpnet.nn.batch_norm_training_backward`."""
    x, scale, dy = (kernels.ready(array, x.dtype) for array in (x, scale, dy))
    rows = launch.rows(x.shape)
    sums, squares = _moments(x)
    products, d_shift = column_sums(dy, x, sums, divisor=rows)
    dx, d_scale = cupy.empty(x.shape, x.dtype), cupy.empty(scale.shape, x.dtype)
    arrays = x, scale, dy, sums, squares, products, d_shift, dx, d_scale
    _run("batch_norm_training_backward", *arrays, of=x, numbers=[rows, eps])
    return dx, d_scale, d_shift


def moving_average(running: Array, value: Array, *, momentum: float) -> Array:
    """See `xpnet.nn.moving_average`."""
    dtype = running.dtype
    value = kernels.ready(value, dtype)

    def change(array: Array) -> None:
        numbers = dtype.type(momentum), dtype.type(1 - momentum)
        size = launch.blocks(array.size), launch.THREADS
        kernels.run("moving_average", *size, array, value, array.size, *numbers, T=dtype)

    return rules.in_place(change, [running])[0]


def _moments(x: Array) -> tuple[Array, Array]:
    """Return the sums of each channel over all rows, and those of the squares of what is centred."""
    # Two passes: a difference of mean squares would cancel if the mean is large.
    _, sums = column_sums(x)
    squares, _ = column_sums(None, x, sums, divisor=launch.rows(x.shape))
    return sums, squares


def _run(name: str, *arrays: Array, of: Array, numbers: Any) -> None:
    """Launch a kernel over the numbers of an array, by channel."""
    dtype = of.dtype
    last = of.size, of.shape[-1], *map(dtype.type, numbers)
    kernels.run(name, launch.blocks(of.size), launch.THREADS, *arrays, *last, T=dtype)
