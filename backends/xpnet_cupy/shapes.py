"""Between rows of features and images: the same numbers with another shape, which no kernel computes."""

from __future__ import annotations

import math
from typing import Any

from xpnet.nn.shapes import Shape
from xpnet_cupy import kernels

Array = Any


def flatten(x: Array) -> Array:
    """See `xpnet.nn.flatten`."""
    return _reshaped(x, (x.shape[0], math.prod(x.shape[1:])))


def flatten_backward(x: Array, dy: Array) -> Array:
    """See `xpnet.nn.flatten_backward`."""
    return _reshaped(dy, x.shape)


def unflatten(x: Array, *, shape: Shape) -> Array:
    """See `xpnet.nn.unflatten`."""
    return _reshaped(x, (x.shape[0], *shape))


def unflatten_backward(dy: Array, *, shape: Shape) -> Array:
    """See `xpnet.nn.unflatten_backward`."""
    return _reshaped(dy, (dy.shape[0], math.prod(shape)))


def _reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    return kernels.ready(x, x.dtype).reshape(shape)
