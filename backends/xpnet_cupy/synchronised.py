"""Batch normalisation over the rows of several processes, by kernels of `synchronised.cu`."""

from __future__ import annotations

from typing import Any

import cupy

from xpnet_cupy import kernels, launch
from xpnet_cupy.normalisation import column_sums

Array = Any


def batch_sums(x: Array) -> Array:
    """See `xpnet.nn.batch_sums`."""
    dtype, channels = x.dtype, x.shape[-1]
    _, own = column_sums(kernels.ready(x, dtype))
    sums = cupy.empty((channels + 1,), dtype)
    _run("batch_sums", own, sums, channels, dtype.type(launch.rows(x.shape)), of=sums)
    return sums


def batch_squares(x: Array, sums: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.batch_squares`."""
    x, sums = (kernels.ready(array, x.dtype) for array in (x, sums))
    mean = cupy.empty(x.shape[-1:], x.dtype)
    _run("batch_mean", sums, mean, mean.size, of=mean)
    squares, _ = column_sums(None, x, mean)
    return mean, squares


def batch_variances(squares: Array, sums: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.batch_variances`."""
    squares, sums = (kernels.ready(array, squares.dtype) for array in (squares, sums))
    variance, unbiased = (cupy.empty(squares.shape, squares.dtype) for _ in range(2))
    _run("batch_variances", squares, sums, variance, unbiased, squares.size, of=squares)
    return variance, unbiased


def batch_norm_slopes(
    x: Array, mean: Array, variance: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """See `xpnet.nn.batch_norm_slopes`."""
    dtype = x.dtype
    x, mean, variance, dy = (kernels.ready(array, dtype) for array in (x, mean, variance, dy))
    products, d_shift = column_sums(dy, x, mean)
    d_scale, slopes = (cupy.empty(shape, dtype) for shape in (mean.shape, (2, *mean.shape)))
    arrays = products, d_shift, variance, d_scale, slopes
    _run("batch_norm_slopes", *arrays, mean.size, dtype.type(eps), of=mean)
    return d_scale, d_shift, slopes


def batch_norm_shared_backward(
    x: Array,
    scale: Array,
    mean: Array,
    variance: Array,
    dy: Array,
    slopes: Array,
    sums: Array,
    *,
    eps: float,
) -> Array:
    """See `xpnet.nn.batch_norm_shared_backward`."""
    dtype, dx = x.dtype, cupy.empty(x.shape, x.dtype)
    given = x, scale, mean, variance, dy, slopes, sums
    inputs = [kernels.ready(array, dtype) for array in given]
    _run("batch_norm_shared_backward", *inputs, dx, dx.size, x.shape[-1], dtype.type(eps), of=dx)
    return dx


def _run(name: str, *args: Any, of: Array) -> None:
    """Launch a kernel over the numbers of an array."""
    kernels.run(name, launch.blocks(of.size), launch.THREADS, *args, T=of.dtype)
