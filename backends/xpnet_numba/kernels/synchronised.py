"""Batch normalisation over the rows of several processes: what is computed once a channel."""

from typing import Any

import numpy

from xpnet_numba.kernels.entries import operation
from xpnet_numba.kernels.products import sum_rows

Array = Any


@operation
def count_rows(partials: Array, sums: Array, n: float) -> None:
    """Fill `sums` with the sum of the rows of `partials`, and then `n`."""
    rows, channels = partials.shape
    sum_rows(sums, channels, partials, rows)
    sums[channels] = n


@operation
def find_mean(sums: Array, mean: Array) -> None:
    """Fill `mean` with sums, divided by the number of rows behind them."""
    for c in range(mean.size):
        mean[c] = sums[c] / sums[mean.size]


@operation
def find_variances(squares: Array, sums: Array, variance: Array, unbiased: Array) -> None:
    """Fill `variance` with squares over the number of rows, and `unbiased` over one less."""
    n = sums[squares.size]
    for c in range(squares.size):
        variance[c] = squares[c] / n
        unbiased[c] = squares[c] / max(n - type(n)(1), type(n)(1))


@operation
def find_scale_slopes(
    partials: Array, variance: Array, d_shift: Array, d_scale: Array, slopes: Array, eps: float
) -> None:
    """Fill `d_scale`, given the sums of centred products, and `slopes` with both gradients."""
    rows, channels = partials.shape
    sum_rows(d_scale, channels, partials, rows)
    for c in range(channels):
        d_scale[c] /= numpy.sqrt(variance[c] + eps)
        slopes[0, c] = d_scale[c]
        slopes[1, c] = d_shift[c]


@operation
def find_shared_slopes(
    scale: Array,
    variance: Array,
    slopes: Array,
    sums: Array,
    factor: Array,
    level: Array,
    slope: Array,
    eps: float,
) -> None:
    """Fill what `differentiate_channels` reads."""
    n = sums[scale.size]
    for c in range(scale.size):
        deviation = numpy.sqrt(variance[c] + eps)
        factor[c] = scale[c] / deviation
        level[c] = -slopes[1, c] / n
        slope[c] = -slopes[0, c] / deviation / n
