"""Batch normalisation and its gradients; an array is (batch, pixels, channels).

Sums are made by examples, and these then added up in order: no thread changes a bit. The lanes of a vector
are channels.
"""

from typing import Any

import numpy

from xpnet_numba.kernels.compiled import part
from xpnet_numba.kernels.entries import operation
from xpnet_numba.kernels.formulas import elementwise
from xpnet_numba.kernels.products import sum_rows
from xpnet_numba.kernels.vectors import NARROW, add, fma, lanes, load, splat, store

Array = Any
Scalar = Any
Vector = Any


@elementwise
def moving_average(running: Scalar, value: Scalar, old: Scalar, new: Scalar) -> Scalar:
    """Return ``old * running + new * value``."""
    return running * old + new * value


@part
def _minus(x: Array, start: int, used: int) -> Vector:
    """Return the vector that begins with ``x[start]``, its sign changed."""
    nothing = splat(x.dtype.type(0), NARROW)
    return fma(load(x, start, used, NARROW), splat(x.dtype.type(-1), NARROW), nothing)


@operation
def average_rows(partials: Array, average: Array, n: float) -> None:
    """Fill `average` with the sum of the rows of `partials`, divided by `n`."""
    rows, columns = partials.shape
    sum_rows(average, columns, partials, rows)
    for c in range(columns):
        average[c] /= n


@operation
def add_squares(x: Array, mean: Array, partials: Array, first: int, end: int) -> None:
    """Fill rows of `partials` with the sums of ``(x - mean)**2``."""
    _, pixels, channels = x.shape
    for b in range(first, end):
        for c in range(0, channels, lanes(x, NARROW)):
            used = min(lanes(x, NARROW), channels - c)
            minus, total = _minus(mean, c, used), splat(x.dtype.type(0), NARROW)
            for k in range(b * pixels, (b + 1) * pixels):
                centred = add(load(x, k * channels + c, used, NARROW), minus)
                total = fma(centred, centred, total)
            store(partials, b * channels + c, used, NARROW, total)


@operation
def add_centred_products(x: Array, mean: Array, dy: Array, partials: Array, first: int, end: int) -> None:
    """Fill rows of `partials` with the sums of ``(x - mean) * dy``."""
    _, pixels, channels = x.shape
    for b in range(first, end):
        for c in range(0, channels, lanes(x, NARROW)):
            used = min(lanes(x, NARROW), channels - c)
            minus, total = _minus(mean, c, used), splat(x.dtype.type(0), NARROW)
            for k in range(b * pixels, (b + 1) * pixels):
                at = k * channels + c
                centred = add(load(x, at, used, NARROW), minus)
                total = fma(centred, load(dy, at, used, NARROW), total)
            store(partials, b * channels + c, used, NARROW, total)


@operation
def find_factors(scale: Array, variance: Array, factor: Array, eps: float) -> None:
    """Fill `factor` with what deviations from the mean are multiplied by."""
    for c in range(scale.size):
        factor[c] = scale[c] / numpy.sqrt(variance[c] + eps)


@operation
def normalise_channels(
    x: Array, mean: Array, factor: Array, shift: Array, y: Array, first: int, end: int
) -> None:
    """Fill examples of `y`."""
    _, pixels, channels = x.shape
    for b in range(first, end):
        for c in range(0, channels, lanes(x, NARROW)):
            used = min(lanes(x, NARROW), channels - c)
            minus, slope = _minus(mean, c, used), load(factor, c, used, NARROW)
            level = load(shift, c, used, NARROW)
            for k in range(b * pixels, (b + 1) * pixels):
                centred = add(load(x, k * channels + c, used, NARROW), minus)
                store(y, k * channels + c, used, NARROW, fma(centred, slope, level))


@operation
def find_slopes(
    partials: Array,
    scale: Array,
    variance: Array,
    d_shift: Array,
    d_scale: Array,
    factor: Array,
    level: Array,
    slope: Array,
    eps: float,
    n: float,
) -> None:
    """Fill `d_scale`, given the sums of centred products, and what `differentiate_channels` reads."""
    rows, channels = partials.shape
    sum_rows(d_scale, channels, partials, rows)
    for c in range(channels):
        deviation = numpy.sqrt(variance[c] + eps)
        d_scale[c] /= deviation
        factor[c] = scale[c] / deviation
        level[c] = -d_shift[c] / n
        slope[c] = -d_scale[c] / deviation / n


@operation
def differentiate_channels(
    x: Array,
    mean: Array,
    dy: Array,
    factor: Array,
    level: Array,
    slope: Array,
    dx: Array,
    first: int,
    end: int,
) -> None:
    """Fill examples of `dx` with ``(dy + level + slope * (x - mean)) * factor``."""
    _, pixels, channels = x.shape
    nothing = splat(x.dtype.type(0), NARROW)
    for b in range(first, end):
        for c in range(0, channels, lanes(x, NARROW)):
            used = min(lanes(x, NARROW), channels - c)
            minus, times = _minus(mean, c, used), load(factor, c, used, NARROW)
            rises, begins = load(slope, c, used, NARROW), load(level, c, used, NARROW)
            for k in range(b * pixels, (b + 1) * pixels):
                at = k * channels + c
                left = add(load(dy, at, used, NARROW), begins)
                left = fma(add(load(x, at, used, NARROW), minus), rises, left)
                store(dx, at, used, NARROW, fma(left, times, nothing))
