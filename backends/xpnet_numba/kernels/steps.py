"""Optimizer steps, each in one pass over the parameter.

The arrays passed in may be overwritten; use those returned.
"""

import math
from typing import Any

from xpnet_numba.kernels.accepted import falls_back, parameter, with_moments, with_velocity
from xpnet_numba.kernels.compiled import kernel
from xpnet_numba.layout import adam_numbers

Array = Any


@falls_back(parameter)
def sgd_step(param: Array, grad: Array, lr: float) -> Array:
    """Return ``param - lr * grad``."""
    (param,) = _step(sgd_in_place, grad, (param,), lr)
    return param


@falls_back(with_velocity)
def momentum_step(param: Array, grad: Array, velocity: Array, lr: float, beta: float) -> tuple[Array, Array]:
    """Return both after ``v = beta v + (1 - beta) g; p = p - lr v``."""
    param, velocity = _step(momentum_in_place, grad, (param, velocity), lr, beta, 1 - beta)
    return param, velocity


@falls_back(with_velocity)
def nesterov_step(param: Array, grad: Array, velocity: Array, lr: float, beta: float) -> tuple[Array, Array]:
    """Return both after ``v = beta v + (1 - beta) g; p = p - lr (beta v + (1 - beta) g)``."""
    param, velocity = _step(nesterov_in_place, grad, (param, velocity), lr, beta, 1 - beta)
    return param, velocity


@falls_back(with_moments)
def adam_step(
    param: Array,
    grad: Array,
    mean: Array,
    variance: Array,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Return the parameter and both moments after one step of Adam."""
    numbers = adam_numbers(step, lr, beta1, beta2, eps)
    param, mean, variance = _step(adam_in_place, grad, (param, mean, variance), *numbers)
    return param, mean, variance


def _step(function: Any, grad: Array, arrays: tuple[Array, ...], *numbers: float) -> list[Array]:
    flat = [x.reshape(-1) for x in arrays]
    # In the dtype of the arrays, because beside a Python float Numba computes in float64.
    function(grad.reshape(-1), *flat, *map(arrays[0].dtype.type, numbers))
    return [x.reshape(array.shape) for x, array in zip(flat, arrays, strict=True)]


@kernel
def sgd_in_place(grad: Array, param: Array, lr: float) -> None:
    """Change `param`; all arrays are flat, here and below."""
    for i in range(param.size):
        param[i] -= lr * grad[i]


@kernel
def momentum_in_place(grad: Array, param: Array, velocity: Array, lr: float, old: float, new: float) -> None:
    """Change `param` and `velocity`; `new` is ``1 - old``."""
    for i in range(param.size):
        v = old * velocity[i] + new * grad[i]
        velocity[i] = v
        param[i] -= lr * v


@kernel
def nesterov_in_place(grad: Array, param: Array, velocity: Array, lr: float, old: float, new: float) -> None:
    """Change `param` and `velocity`; `new` is ``1 - old``."""
    for i in range(param.size):
        share = new * grad[i]
        v = old * velocity[i] + share
        velocity[i] = v
        param[i] -= lr * (old * v + share)


@kernel
def adam_in_place(
    grad: Array,
    param: Array,
    mean: Array,
    variance: Array,
    lr: float,
    old1: float,
    new1: float,
    old2: float,
    new2: float,
    unbias2: float,
    eps: float,
) -> None:
    """Change all but `grad`; `adam_numbers` makes the numbers."""
    for i in range(param.size):
        m = old1 * mean[i] + new1 * grad[i]
        v = old2 * variance[i] + new2 * (grad[i] * grad[i])
        mean[i] = m
        variance[i] = v
        param[i] -= lr * m / (math.sqrt(unbias2 * v) + eps)
