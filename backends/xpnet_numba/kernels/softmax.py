"""Softmax and its logarithm, and their gradients: kernels that go along rows."""

from typing import Any

import numpy

from xpnet_numba.kernels.accepted import falls_back, one_matrix, two_matrices
from xpnet_numba.kernels.compiled import add, kernel, part
from xpnet_numba.kernels.exp import exp

Array = Any


@falls_back(one_matrix)
def softmax(z: Array) -> Array:
    """Return ``exp(z) / sum(exp(z))`` along the last axis."""
    return _rows(_softmax, z)


@falls_back(two_matrices)
def softmax_backward(y: Array, dy: Array) -> Array:
    """Return ``y * (dy - sum(dy * y))``."""
    return _rows(_softmax_backward, y, dy)


@falls_back(one_matrix)
def log_softmax(z: Array) -> Array:
    """Return ``z - log(sum(exp(z)))`` along the last axis."""
    return _rows(_log_softmax, z)


@falls_back(two_matrices)
def log_softmax_backward(y: Array, dy: Array) -> Array:
    """Return ``dy - exp(y) * sum(dy)``."""
    return _rows(_log_softmax_backward, y, dy)


def _rows(function: Any, *arrays: Array) -> Array:
    out = numpy.empty(arrays[0].shape, arrays[0].dtype)
    function(*[numpy.ascontiguousarray(x) for x in arrays], out)
    return out


@part
def row_max(z: Array, i: int) -> Any:
    """Return the greatest element of row `i`; a nan may be passed over, for it will spoil the sum."""
    m = z[i, 0]
    for j in range(1, z.shape[1]):
        m = z[i, j] if z[i, j] > m else m
    return m


@part
def _exp_row(z: Array, i: int, shift: Any, out: Array) -> Any:
    """Fill row `i` of `out` with ``exp(z - shift)`` and return the row's sum."""
    for j in range(z.shape[1]):
        out[i, j] = exp(z[i, j] - shift)
    # Apart, for a loop that also writes adds up in another order where arrays lie near each other.
    total = z.dtype.type(0)
    for j in range(z.shape[1]):
        total = add(total, out[i, j])
    return total


@kernel
def _softmax(z: Array, out: Array) -> None:
    one = z.dtype.type(1)
    for i in range(z.shape[0]):
        factor = one / _exp_row(z, i, row_max(z, i), out)
        for j in range(z.shape[1]):
            out[i, j] *= factor


@kernel
def _softmax_backward(y: Array, dy: Array, out: Array) -> None:
    for i in range(y.shape[0]):
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total = add(total, dy[i, j] * y[i, j])
        for j in range(y.shape[1]):
            out[i, j] = y[i, j] * (dy[i, j] - total)


@kernel
def _log_softmax(z: Array, out: Array) -> None:
    for i in range(z.shape[0]):
        m = row_max(z, i)
        total = z.dtype.type(0)
        for j in range(z.shape[1]):
            total = add(total, exp(z[i, j] - m))
        logarithm = numpy.log(total)
        for j in range(z.shape[1]):
            out[i, j] = (z[i, j] - m) - logarithm


@kernel
def _log_softmax_backward(y: Array, dy: Array, out: Array) -> None:
    for i in range(y.shape[0]):
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total = add(total, dy[i, j])
        for j in range(y.shape[1]):
            out[i, j] = dy[i, j] - exp(y[i, j]) * total
