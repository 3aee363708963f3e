"""Layer normalisation, standardising, and sums of columns, by kernels of `normalisation.cu`."""

from __future__ import annotations

from typing import Any

import cupy

from xpnet_cupy import kernels, launch, rules

Array = Any


def layer_norm(x: Array, scale: Array, shift: Array, *, eps: float) -> Array:
    """See `xpnet.nn.layer_norm`."""
    dtype, features, y = x.dtype, x.shape[-1], cupy.empty(x.shape, x.dtype)
    inputs = [kernels.ready(array, dtype) for array in (x, scale, shift)]
    size = launch.rows(x.shape), launch.threads(features)
    kernels.run("layer_norm", *size, *inputs, y, features, dtype.type(eps), T=dtype)
    return y


def layer_norm_backward(x: Array, scale: Array, dy: Array, *, eps: float) -> tuple[Array, Array, Array]:
    """See `xpnet.nn.layer_norm_backward`."""
    dtype, features = x.dtype, x.shape[-1]
    x, scale, dy = (kernels.ready(array, dtype) for array in (x, scale, dy))
    dx, normal = (cupy.empty(x.shape, dtype) for _ in range(2))
    size = launch.rows(x.shape), launch.threads(features)
    kernels.run("layer_norm_backward", *size, x, scale, dy, dx, normal, features, dtype.type(eps), T=dtype)
    return dx, *column_sums(dy, normal)


def standardize(x: Array, mean: Array, deviation: Array) -> Array:
    """See `xpnet.nn.standardize`."""
    dtype, y = x.dtype, cupy.empty(x.shape, x.dtype)
    inputs = [kernels.ready(array, dtype) for array in (x, mean, deviation)]
    size = launch.blocks(x.size), launch.THREADS
    kernels.run("standardize", *size, *inputs, y, x.size, x.shape[-1], T=dtype)
    return y


def standardize_backward(x: Array, mean: Array, deviation: Array, dy: Array) -> tuple[Array, Array, Array]:
    """See `xpnet.nn.standardize_backward`."""
    dtype = x.dtype
    inputs = [kernels.ready(array, dtype) for array in (x, mean, deviation, dy)]
    dx, negative, normal = (cupy.empty(x.shape, dtype) for _ in range(3))
    size = launch.blocks(x.size), launch.THREADS
    last = dx, negative, normal, x.size, x.shape[-1]
    kernels.run("standardize_backward", *size, *inputs, *last, T=dtype)
    d_deviation, d_mean = column_sums(negative, normal)
    return dx, d_mean, d_deviation


def column_sums(
    a: Array | None, b: Array | None = None, means: Array | None = None, *, divisor: int = 1
) -> tuple[Array, Array]:
    """Return the sums of ``a * (b - mean)`` and of `a` over all axes but the last.

    Parameters
    ----------
    a, b : array or None
        Contiguous. If `a` is None, it is ``b - mean``; no `b` is 0.
    means : array, optional
        Those of the columns, times `divisor`; 0 if omitted.
    """
    x: Array = b if a is None else a
    dtype, rows, columns = x.dtype, launch.rows(x.shape), x.shape[-1]
    products, sums = (cupy.empty((columns,), dtype) for _ in range(2))
    tiles = -(-columns // launch.OUTPUTS)
    count, share = launch.parts(rows, tiles)
    parts = cupy.empty((count, 2, columns), dtype)
    inputs = a, b, means, dtype.type(divisor), parts, rows, columns, share
    kernels.run("column_parts", count * tiles, launch.THREADS, *inputs, T=dtype)
    store = rules.rule(None, dtype)
    rules.add_parts(None, parts, count, products, sums, store, store)
    return products, sums
