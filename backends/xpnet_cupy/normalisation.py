"""Normalisation by kernels of `normalisation.cu`."""

from __future__ import annotations

from typing import Any

import cupy

from xpnet_cupy import kernels, launch, rules

Array = Any


def layer_norm(x: Array, scale: Array, shift: Array, *, eps: float) -> Array:
    """See `xpnet.nn.layer_norm`."""
    dtype, (batch, features), y = x.dtype, x.shape, cupy.empty(x.shape, x.dtype)
    inputs = [kernels.ready(array, dtype) for array in (x, scale, shift)]
    size = batch, launch.threads(features)
    kernels.run("layer_norm", *size, *inputs, y, features, dtype.type(eps), T=dtype)
    return y


def layer_norm_backward(x: Array, scale: Array, dy: Array, *, eps: float) -> tuple[Array, Array, Array]:
    """See `xpnet.nn.layer_norm_backward`."""
    dtype, (batch, features) = x.dtype, x.shape
    x, scale, dy = (kernels.ready(array, dtype) for array in (x, scale, dy))
    dx, normal = (cupy.empty(x.shape, dtype) for _ in range(2))
    size = batch, launch.threads(features)
    kernels.run("layer_norm_backward", *size, x, scale, dy, dx, normal, features, dtype.type(eps), T=dtype)
    return dx, *column_sums(dy, normal)


def column_sums(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the sums of ``a * b`` and of `a` over all rows, of contiguous matrices."""
    dtype, (rows, columns) = a.dtype, a.shape
    products, sums = (cupy.empty((columns,), dtype) for _ in range(2))
    tiles = -(-columns // launch.OUTPUTS)
    count, share = launch.parts(rows, tiles)
    parts = cupy.empty((count, 2, columns), dtype)
    size = count * tiles, launch.THREADS
    kernels.run("column_parts", *size, a, b, parts, rows, columns, share, T=dtype)
    store = rules.rule(None, dtype)
    rules.add_parts(None, parts, count, products, sums, store, store)
    return products, sums
