"""Activations that treat each element alone, and their gradients."""

from typing import Any

import numpy

from xpnet_numba.kernels.accepted import falls_back, one, two
from xpnet_numba.kernels.compiled import kernel
from xpnet_numba.kernels.exp import exp

Array = Any


@falls_back(one)
def sigmoid(z: Array) -> Array:
    """Return ``1 / (1 + exp(-z))``."""
    return _each(sigmoid_into, z)


@falls_back(two)
def sigmoid_backward(y: Array, dy: Array) -> Array:
    """Return ``dy * y * (1 - y)``."""
    return _each(sigmoid_backward_into, y, dy)


@falls_back(one)
def relu(z: Array) -> Array:
    """Return ``max(z, 0)``."""
    return _each(relu_into, z)


@falls_back(two)
def relu_backward(y: Array, dy: Array) -> Array:
    """Return `dy` where `y` is positive and 0 elsewhere."""
    return _each(relu_backward_into, y, dy)


@falls_back(two)
def tanh_backward(y: Array, dy: Array) -> Array:
    """Return ``dy * (1 - y**2)``."""
    return _each(tanh_backward_into, y, dy)


def _each(function: Any, *arrays: Array) -> Array:
    # NumPy allocates, because it asks for huge pages and Numba does not: 5x at 4 MB, all page faults.
    out = numpy.empty(arrays[0].shape, arrays[0].dtype)
    function(*[x.reshape(-1) for x in arrays], out.reshape(-1))
    return out


# `zero` and `one` have the dtype of the arrays: beside an integer literal Numba computes in float64.


@kernel
def sigmoid_into(z: Array, out: Array) -> None:
    """Fill `out` with the sigmoid of `z`; both flat, as all arrays below."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.size):
        e = exp(-abs(z[i]))
        y = one / (one + e)
        out[i] = y if z[i] >= zero else e * y


@kernel
def sigmoid_backward_into(y: Array, dy: Array, out: Array) -> None:
    """Fill `out` with ``dy * y * (1 - y)``."""
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = dy[i] * y[i] * (one - y[i])


@kernel
def relu_into(z: Array, out: Array) -> None:
    """Fill `out` with ``max(z, 0)``."""
    zero = z.dtype.type(0)
    for i in range(z.size):
        out[i] = zero if z[i] <= zero else z[i]  # nan stays nan


@kernel
def relu_backward_into(y: Array, dy: Array, out: Array) -> None:
    """Fill `out` with `dy` where `y` is positive, else with 0."""
    zero = y.dtype.type(0)
    for i in range(y.size):
        out[i] = dy[i] if y[i] > zero else zero


@kernel
def tanh_backward_into(y: Array, dy: Array, out: Array) -> None:
    """Fill `out` with ``dy * (1 - y**2)``."""
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = dy[i] * (one - y[i] * y[i])
