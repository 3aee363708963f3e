"""Gradients in one flat array, by kernels of `collective.cu`; `sums` adds them up over processes."""

from __future__ import annotations

from typing import Any

import cupy

from xpnet_cupy import kernels, launch, rules

Array = Any


def pack(flat: Array, x: Array, *, before: int, after: int) -> Array:
    """See `xpnet.nn.pack`."""
    dtype = flat.dtype
    x = kernels.ready(x, dtype)

    def change(flat: Array) -> None:
        place = flat[before : flat.size - after]
        kernels.run("pack", launch.blocks(x.size), launch.THREADS, x, place, x.size, T=dtype)

    return rules.in_place(change, [flat])[0]


def unpack(flat: Array, x: Array, *, before: int, after: int) -> Array:
    """See `xpnet.nn.unpack`; nothing is copied unless `flat` has strides."""
    return kernels.ready(flat, flat.dtype)[before : flat.size - after].reshape(x.shape)


def all_reduce(x: Array) -> Array:
    """See `xpnet.nn.all_reduce`."""
    return x


def scaled(x: Array, factor: Array) -> Array:
    """See `xpnet.nn.scaled`."""
    dtype, y = x.dtype, cupy.empty(x.shape, x.dtype)
    inputs = kernels.ready(x, dtype), kernels.ready(factor, dtype)
    kernels.run("scaled", launch.blocks(y.size), launch.THREADS, *inputs, y, y.size, T=dtype)
    return y
