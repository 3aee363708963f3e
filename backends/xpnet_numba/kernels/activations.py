"""Activations and their gradients."""

from typing import Any

import numpy

from xpnet.nn.activations import GELU_BEND, GELU_SLOPE
from xpnet_numba.kernels.compiled import add, inlined, part
from xpnet_numba.kernels.exp import exp
from xpnet_numba.kernels.formulas import each_row, elementwise

Array = Any
Scalar = Any


@inlined
def _sigmoid(z: Scalar) -> Scalar:
    zero, one = type(z)(0), type(z)(1)
    e = exp(-abs(z))
    y = one / (one + e)
    return y if z >= zero else e * y


@elementwise
def sigmoid(z: Scalar) -> Scalar:
    """Return ``1 / (1 + exp(-z))``."""
    return _sigmoid(z)


@elementwise
def sigmoid_backward(y: Scalar, dy: Scalar) -> Scalar:
    """Return ``dy * y * (1 - y)``."""
    return dy * y * (type(y)(1) - y)


@elementwise
def relu(z: Scalar) -> Scalar:
    """Return ``max(z, 0)``."""
    zero = type(z)(0)
    return zero if z <= zero else z  # nan stays nan


@elementwise
def relu_backward(y: Scalar, dy: Scalar) -> Scalar:
    """Return `dy` where `y` is positive, else 0."""
    zero = type(y)(0)
    return dy if y > zero else zero


@elementwise
def leaky_relu(z: Scalar, slope: Scalar) -> Scalar:
    """Return ``z`` where it is positive, else ``slope * z``."""
    return z if z > 0 else slope * z


@elementwise
def leaky_relu_backward(z: Scalar, dy: Scalar, slope: Scalar) -> Scalar:
    """Return ``dy`` where ``z`` is positive, else ``slope * dy``."""
    return dy if z > 0 else slope * dy


@elementwise
def tanh_backward(y: Scalar, dy: Scalar) -> Scalar:
    """Return ``dy * (1 - y**2)``."""
    return dy * (type(y)(1) - y * y)


@elementwise
def gelu(z: Scalar) -> Scalar:
    """Return ``z s(z)``, where ``s`` is near the normal CDF; see `xpnet.nn.gelu`."""
    return z * _normal_cdf(_bounded(z, 32))


@elementwise
def gelu_backward(z: Scalar, dy: Scalar) -> Scalar:
    """Return ``dy (s + z s (1 - s) u')``, where ``u`` is what ``s`` is the sigmoid of."""
    one, slope, bend = type(z)(1), type(z)(GELU_SLOPE), type(z)(3 * GELU_BEND)
    z = _bounded(z, 32)
    s = _normal_cdf(z)
    return dy * s * (one + z * (one - s) * (slope + bend * z * z))


@elementwise
def silu(z: Scalar) -> Scalar:
    """Return ``z sigmoid(z)``."""
    return z * _sigmoid(z)


@elementwise
def silu_backward(z: Scalar, dy: Scalar) -> Scalar:
    """Return ``dy s (1 + z (1 - s))`` with ``s = sigmoid(z)``."""
    one, s = type(z)(1), _sigmoid(z)
    return dy * s * (one + _bounded(z, 1000) * (one - s))


@inlined
def _normal_cdf(z: Scalar) -> Scalar:
    return _sigmoid(z * (type(z)(GELU_SLOPE) + type(z)(GELU_BEND) * z * z))


@inlined
def _bounded(z: Scalar, bound: int) -> Scalar:
    low, high = type(z)(-bound), type(z)(bound)
    return low if z < low else high if z > high else z


@part
def row_max(z: Array, i: int) -> Scalar:
    """Return the greatest element of row `i`; a nan may be passed over, because it will spoil the sum."""
    m = z[i, 0]
    for j in range(1, z.shape[1]):
        m = z[i, j] if z[i, j] > m else m
    return m


@part
def _exp_row(z: Array, i: int, shift: Scalar, out: Array) -> Scalar:
    """Fill row `i` of `out` with ``exp(z - shift)`` and return the row's sum."""
    for j in range(z.shape[1]):
        out[i, j] = exp(z[i, j] - shift)
    # In another loop: one that also writes would sum in another order if arrays lie near each other.
    total = z.dtype.type(0)
    for j in range(z.shape[1]):
        total = add(total, out[i, j])
    return total


@each_row
def softmax(z: Array, y: Array, i: int) -> None:
    """Fill row `i` of `y` with ``exp(z) / sum(exp(z))``."""
    factor = z.dtype.type(1) / _exp_row(z, i, row_max(z, i), y)
    for j in range(z.shape[1]):
        y[i, j] *= factor


@each_row
def softmax_backward(y: Array, dy: Array, dz: Array, i: int) -> None:
    """Fill row `i` of `dz` with ``y * (dy - sum(dy * y))``."""
    total = y.dtype.type(0)
    for j in range(y.shape[1]):
        total = add(total, dy[i, j] * y[i, j])
    for j in range(y.shape[1]):
        dz[i, j] = y[i, j] * (dy[i, j] - total)


@each_row
def log_softmax(z: Array, y: Array, i: int) -> None:
    """Fill row `i` of `y` with ``z - log(sum(exp(z)))``."""
    m = row_max(z, i)
    total = z.dtype.type(0)
    for j in range(z.shape[1]):
        total = add(total, exp(z[i, j] - m))
    logarithm = numpy.log(total)
    for j in range(z.shape[1]):
        y[i, j] = (z[i, j] - m) - logarithm


@each_row
def log_softmax_backward(y: Array, dy: Array, dz: Array, i: int) -> None:
    """Fill row `i` of `dz` with ``dy - exp(y) * sum(dy)``."""
    total = y.dtype.type(0)
    for j in range(y.shape[1]):
        total = add(total, dy[i, j])
    for j in range(y.shape[1]):
        dz[i, j] = dy[i, j] - exp(y[i, j]) * total
