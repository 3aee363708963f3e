"""Random changes of images by kernels of `augmentation.cu`; see `kernels.dropout` for `step`."""

from __future__ import annotations

from typing import Any

import cupy
import numpy

from xpnet_cupy import kernels, launch

Array = Any


def random_shift(x: Array, key: int, step: Any, *, most: int, first: int = 0) -> Array:
    """See `xpnet.nn.random_shift`."""
    return _run("random_shift", x, key, step, first, numpy.uint32(2 * most + 1), 1)


def random_shift_backward(dy: Array, key: int, step: Any, *, most: int, first: int = 0) -> Array:
    """See `xpnet.nn.random_shift_backward`."""
    return _run("random_shift", dy, key, step, first, numpy.uint32(2 * most + 1), -1)


def random_flip(x: Array, key: int, step: Any, *, first: int = 0) -> Array:
    """See `xpnet.nn.random_flip`."""
    return _run("random_flip", x, key, step, first)


def random_flip_backward(dy: Array, key: int, step: Any, *, first: int = 0) -> Array:
    """See `xpnet.nn.random_flip_backward`."""
    return _run("random_flip", dy, key, step, first)


def _run(name: str, x: Array, key: int, step: Any, first: int, *numbers: Any) -> Array:
    """Return what a kernel makes of images."""
    y, lengths = cupy.empty(x.shape, x.dtype), x.shape[1:]
    last = y, y.size, *lengths, *kernels.drawing(key, step), first, *numbers
    kernels.run(name, launch.blocks(y.size), launch.THREADS, kernels.ready(x, x.dtype), *last, T=x.dtype)
    return y
