"""Layer normalisation and its gradients, standardising; an array is (batch, all other rows, features)."""

from typing import Any

import numpy

from xpnet_numba.kernels.compiled import add, part
from xpnet_numba.kernels.entries import operation

Array = Any


@part
def _moments(x: Array, b: int, i: int, eps: Any) -> tuple[Any, Any]:
    """Return the mean of a row, and one over its standard deviation.

    In two passes, because the difference of two large sums would lose a small variance.
    """
    n, mean, variance = x.dtype.type(x.shape[2]), x.dtype.type(0), x.dtype.type(0)
    for j in range(x.shape[2]):
        mean = add(mean, x[b, i, j])
    mean = mean / n
    for j in range(x.shape[2]):
        variance = add(variance, (x[b, i, j] - mean) * (x[b, i, j] - mean))
    return mean, x.dtype.type(1) / numpy.sqrt(variance / n + eps)


@operation
def normalise_rows(x: Array, scale: Array, shift: Array, y: Array, eps: float, first: int, end: int) -> None:
    """Fill rows of `y`."""
    for b in range(first, end):
        for i in range(x.shape[1]):
            mean, factor = _moments(x, b, i, eps)
            for j in range(x.shape[2]):
                y[b, i, j] = (x[b, i, j] - mean) * factor * scale[j] + shift[j]


@operation
def differentiate_normal_rows(
    x: Array, scale: Array, dy: Array, dx: Array, products: Array, eps: float, first: int, end: int
) -> None:
    """Fill rows of `dx`, and rows of `products`, whose sum is the gradient at `scale`."""
    n = x.dtype.type(x.shape[2])
    for b in range(first, end):
        for i in range(x.shape[1]):
            mean, factor = _moments(x, b, i, eps)
            level, along = x.dtype.type(0), x.dtype.type(0)
            for j in range(x.shape[2]):
                dx[b, i, j] = dy[b, i, j] * scale[j]  # rounded, so that of a single feature nothing is left
            for j in range(x.shape[2]):
                level = add(level, dx[b, i, j])
                along = add(along, dx[b, i, j] * (x[b, i, j] - mean))
            level, along = level / n, along * factor / n
            for j in range(x.shape[2]):
                normal = (x[b, i, j] - mean) * factor
                products[b, i, j] = dy[b, i, j] * normal
                dx[b, i, j] = (dx[b, i, j] - level - normal * along) * factor


@operation
def standardize_rows(x: Array, mean: Array, deviation: Array, y: Array, first: int, end: int) -> None:
    """Fill rows of `y`."""
    for b in range(first, end):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                y[b, i, j] = (x[b, i, j] - mean[j]) / deviation[j]
