"""Optimizer steps: what becomes of one element of the parameter and of what the optimizer keeps."""

import math
from typing import Any

from xpnet_numba.kernels.compiled import inlined
from xpnet_numba.kernels.formulas import elementwise

Scalar = Any


@elementwise
def sgd_step(param: Scalar, grad: Scalar, lr: Scalar) -> Scalar:
    """Return ``param - lr * grad``."""
    return param - lr * grad


@elementwise
def momentum_step(
    param: Scalar, grad: Scalar, velocity: Scalar, lr: Scalar, old: Scalar, new: Scalar
) -> tuple[Scalar, Scalar]:
    """Return both after ``v = old v + new g; p = p - lr v``."""
    v = old * velocity + new * grad
    return param - lr * v, v


@elementwise
def nesterov_step(
    param: Scalar, grad: Scalar, velocity: Scalar, lr: Scalar, old: Scalar, new: Scalar
) -> tuple[Scalar, Scalar]:
    """Return both after ``v = old v + new g; p = p - lr (old v + new g)``."""
    added = new * grad
    v = old * velocity + added
    return param - lr * (old * v + added), v


@inlined
def _adam(
    grad: Scalar,
    mean: Scalar,
    variance: Scalar,
    lr: Scalar,
    old1: Scalar,
    new1: Scalar,
    old2: Scalar,
    new2: Scalar,
    unbias2: Scalar,
    eps: Scalar,
) -> tuple[Scalar, Scalar, Scalar]:
    """Return what is taken off the parameter, and both moments."""
    m = old1 * mean + new1 * grad
    v = old2 * variance + new2 * (grad * grad)
    return lr * m / (math.sqrt(unbias2 * v) + eps), m, v


@elementwise
def adam_step(
    param: Scalar,
    grad: Scalar,
    mean: Scalar,
    variance: Scalar,
    lr: Scalar,
    old1: Scalar,
    new1: Scalar,
    old2: Scalar,
    new2: Scalar,
    unbias2: Scalar,
    eps: Scalar,
) -> tuple[Scalar, Scalar, Scalar]:
    """Return the parameter and both moments; `lr` holds the other correction of their bias."""
    change, m, v = _adam(grad, mean, variance, lr, old1, new1, old2, new2, unbias2, eps)
    return param - change, m, v


@elementwise
def adamw_step(
    param: Scalar,
    grad: Scalar,
    mean: Scalar,
    variance: Scalar,
    lr: Scalar,
    old1: Scalar,
    new1: Scalar,
    old2: Scalar,
    new2: Scalar,
    unbias2: Scalar,
    eps: Scalar,
    kept: Scalar,
) -> tuple[Scalar, Scalar, Scalar]:
    """Return the same as `adam_step`, of a parameter of which only a part is kept."""
    change, m, v = _adam(grad, mean, variance, lr, old1, new1, old2, new2, unbias2, eps)
    return kept * param - change, m, v
