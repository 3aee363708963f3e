"""Batch normalisation over the rows of several processes, written where it is told to: see `in_place`."""

from __future__ import annotations

from typing import Any

import numpy

from xpnet_numpy.normalisation import sum_of_rows

Array = Any


def batch_sums(x: Array, sums: Array) -> None:
    """See `xpnet.nn.batch_sums`."""
    sums[:-1], sums[-1] = sum_of_rows(x), x.size // x.shape[-1]


def batch_squares(x: Array, sums: Array, mean: Array, squares: Array) -> None:
    """See `xpnet.nn.batch_squares`."""
    numpy.divide(sums[:-1], sums[-1], out=mean)
    centred = x - mean
    squares[...] = sum_of_rows(numpy.square(centred, out=centred))


def batch_norm_slopes(
    x: Array,
    mean: Array,
    variance: Array,
    dy: Array,
    d_scale: Array,
    d_shift: Array,
    slopes: Array,
    *,
    eps: float,
) -> None:
    """See `xpnet.nn.batch_norm_slopes`."""
    products = x - mean
    products *= dy
    numpy.divide(sum_of_rows(products), numpy.sqrt(variance + eps), out=d_scale)
    d_shift[...] = sum_of_rows(dy)
    slopes[0], slopes[1] = d_scale, d_shift


def batch_norm_shared_backward(
    x: Array,
    scale: Array,
    mean: Array,
    variance: Array,
    dy: Array,
    slopes: Array,
    sums: Array,
    dx: Array,
    *,
    eps: float,
) -> None:
    """See `xpnet.nn.batch_norm_shared_backward`."""
    deviation, rows = numpy.sqrt(variance + eps), sums[-1]
    normal = x - mean
    normal /= deviation
    normal *= slopes[0] / rows
    numpy.subtract(dy, normal, out=dx)
    dx -= slopes[1] / rows
    dx *= scale / deviation
