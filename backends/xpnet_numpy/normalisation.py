"""Normalisation that writes its results where it is told to: see `in_place`."""

from __future__ import annotations

import functools
from typing import Any

import numpy

Array = Any


def batch_norm_training(
    x: Array, scale: Array, shift: Array, y: Array, mean: Array, variance: Array, *, eps: float
) -> None:
    """See `xpnet.nn.batch_norm_training`."""
    n = _centre(x, mean, y)
    squares = sum_of_rows(numpy.square(y))
    numpy.divide(squares, max(n - 1, 1), out=variance)
    y *= scale / numpy.sqrt(squares / n + eps)
    y += shift


def batch_norm_training_backward(
    x: Array, scale: Array, dy: Array, dx: Array, d_scale: Array, d_shift: Array, *, eps: float
) -> None:
    """See `xpnet.nn.batch_norm_training_backward`."""
    normal = numpy.empty_like(dx)
    n = _centre(x, numpy.empty_like(scale), normal)
    deviation = numpy.sqrt(sum_of_rows(numpy.square(normal, out=dx)) / n + eps)
    normal /= deviation
    d_scale[...] = sum_of_rows(numpy.multiply(dy, normal, out=dx))
    d_shift[...] = sum_of_rows(dy)
    normal *= d_scale / n
    numpy.subtract(dy, normal, out=dx)
    dx -= d_shift / n
    dx *= scale / deviation


def batch_norm(
    x: Array, scale: Array, shift: Array, mean: Array, variance: Array, y: Array, *, eps: float
) -> None:
    """See `xpnet.nn.batch_norm`."""
    numpy.subtract(x, mean, out=y)
    y *= scale / numpy.sqrt(variance + eps)
    y += shift


def standardize(x: Array, mean: Array, deviation: Array, y: Array) -> None:
    """See `xpnet.nn.standardize`."""
    numpy.subtract(x, mean, out=y)
    y /= deviation


def layer_norm(x: Array, scale: Array, shift: Array, y: Array, *, eps: float) -> None:
    """See `xpnet.nn.layer_norm`."""
    _normalise_rows(x, y, eps)
    y *= scale
    y += shift


def layer_norm_backward(
    x: Array, scale: Array, dy: Array, dx: Array, d_scale: Array, d_shift: Array, *, eps: float
) -> None:
    """See `xpnet.nn.layer_norm_backward`."""
    normal = numpy.empty_like(dx)
    deviation = _normalise_rows(x, normal, eps)
    d_scale[...] = sum_of_rows(numpy.multiply(dy, normal, out=dx))
    d_shift[...] = sum_of_rows(dy)
    numpy.multiply(dy, scale, out=dx)
    along = numpy.vecdot(dx, normal)[..., None] / dx.shape[-1]
    dx -= _mean_of_rows(dx)
    normal *= along
    dx -= normal
    dx /= deviation


def _centre(x: Array, mean: Array, out: Array) -> int:
    """Fill `mean` with that of all rows and `out` with ``x - mean``, and return the number of rows."""
    n = int(x.size // x.shape[-1])
    numpy.divide(sum_of_rows(x), n, out=mean)
    numpy.subtract(x, mean, out=out)
    return n


def _normalise_rows(x: Array, out: Array, eps: float) -> Array:
    """Fill `out` with rows of mean 0 and variance 1, and return what they were divided by."""
    numpy.subtract(x, _mean_of_rows(x), out=out)
    deviation = numpy.sqrt(numpy.vecdot(out, out)[..., None] / x.shape[-1] + eps)
    out /= deviation
    return deviation


def sum_of_rows(x: Array) -> Array:
    """Return the sum of all rows; faster as a GEMM."""
    rows = x.reshape(-1, x.shape[-1])
    return numpy.matmul(_ones(len(rows), x.dtype), rows)


def _mean_of_rows(x: Array) -> Array:
    return numpy.matmul(x, _ones(x.shape[-1], x.dtype))[..., None] / x.shape[-1]


@functools.lru_cache(8)
def _ones(n: int, dtype: Any) -> Array:
    return numpy.ones(n, dtype)
