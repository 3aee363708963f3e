"""Optimizer steps: what becomes of one element of the parameter and of what the optimizer keeps."""

import math
from typing import Any

from xpnet_numba.kernels.compiled import inlined
from xpnet_numba.kernels.formulas import elementwise

Scalar = Any


@inlined
def _kept(kept: Scalar, param: Scalar) -> Scalar:
    """Return what decay leaves of a parameter."""
    # Without decay, the product may not become one instruction with the difference that follows: the bits of
    # a step are those of one without this factor.
    return param if kept == type(kept)(1) else kept * param


@elementwise
def sgd_step(param: Scalar, grad: Scalar, lr: Scalar, kept: Scalar) -> Scalar:
    """Return ``kept param - lr grad``."""
    return _kept(kept, param) - lr * grad


@elementwise
def momentum_step(
    param: Scalar, grad: Scalar, velocity: Scalar, lr: Scalar, old: Scalar, new: Scalar, kept: Scalar
) -> tuple[Scalar, Scalar]:
    """Return both after ``v = old v + new g; p = kept p - lr v``."""
    v = old * velocity + new * grad
    return _kept(kept, param) - lr * v, v


@elementwise
def nesterov_step(
    param: Scalar, grad: Scalar, velocity: Scalar, lr: Scalar, old: Scalar, new: Scalar, kept: Scalar
) -> tuple[Scalar, Scalar]:
    """Return both after ``v = old v + new g; p = kept p - lr (old v + new g)``."""
    added = new * grad
    v = old * velocity + added
    return _kept(kept, param) - lr * (old * v + added), v


@elementwise
def sgd_momentum_step(
    param: Scalar, grad: Scalar, velocity: Scalar, lr: Scalar, momentum: Scalar, share: Scalar, kept: Scalar
) -> tuple[Scalar, Scalar]:
    """Return both after ``v = momentum v + share g; p = kept p - lr v``."""
    v = momentum * velocity + share * grad
    return _kept(kept, param) - lr * v, v


@elementwise
def sgd_nesterov_step(
    param: Scalar, grad: Scalar, velocity: Scalar, lr: Scalar, momentum: Scalar, kept: Scalar
) -> tuple[Scalar, Scalar]:
    """Return both after ``v = momentum v + g; p = kept p - lr (momentum v + g)``."""
    v = momentum * velocity + grad
    return _kept(kept, param) - lr * (momentum * v + grad), v


@elementwise
def rmsprop_step(
    param: Scalar,
    grad: Scalar,
    variance: Scalar,
    lr: Scalar,
    old: Scalar,
    new: Scalar,
    eps: Scalar,
    kept: Scalar,
) -> tuple[Scalar, Scalar]:
    """Return both after ``s = old s + new g^2; p = kept p - lr g / (sqrt(s) + eps)``."""
    s = old * variance + new * (grad * grad)
    return _kept(kept, param) - lr * grad / (math.sqrt(s) + eps), s


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
