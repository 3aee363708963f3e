"""Optimizer steps for one parameter.

The arrays passed in may be overwritten; use those returned. (``a *= b`` and its kin are standard: a library
whose arrays cannot change returns new ones.)
"""

from typing import Any

from xpnet.nn.declaration import function

Array = Any


@function("param!: *, grad: * -> *")
def sgd_step(xp: Any, param: Array, grad: Array, lr: float, weight_decay: float = 0.0) -> Array:
    """Return ``(1 - lr weight_decay) param - lr grad``.

    Parameters
    ----------
    param, grad : array, equal shapes, float
    lr, weight_decay : float

    Returns
    -------
    param : array
    """
    param = _decayed(param, lr, weight_decay)
    param -= lr * grad
    return param


@function("param!: *, grad: *, velocity!: * -> *, *")
def momentum_step(
    xp: Any,
    param: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    beta: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return the parameter and the velocity after ``v = beta v + (1 - beta) g; p = p - lr v``.

    Before that, ``p = (1 - lr weight_decay) p``.

    Parameters
    ----------
    param, grad, velocity : array, equal shapes, float
    lr, weight_decay : float
    beta : float, in [0, 1)

    Returns
    -------
    param, velocity : array
    """
    param = _decayed(param, lr, weight_decay)
    velocity *= beta
    velocity += (1 - beta) * grad
    param -= lr * velocity
    return param, velocity


@function("param!: *, grad: *, velocity!: * -> *, *")
def nesterov_step(
    xp: Any,
    param: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    beta: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return the parameter and the velocity after a step that looks ahead along the velocity.

    ``v = beta v + (1 - beta) g; p = p - lr (beta v + (1 - beta) g)``, and before that
    ``p = (1 - lr weight_decay) p``. The gradient is taken at `param` itself: the form of Dozat,
    "Incorporating Nesterov Momentum into Adam" (2016), with the velocity a moving average as in
    `momentum_step`.

    Parameters
    ----------
    param, grad, velocity : array, equal shapes, float
    lr, weight_decay : float
    beta : float, in [0, 1)

    Returns
    -------
    param, velocity : array
    """
    param = _decayed(param, lr, weight_decay)
    added = (1 - beta) * grad
    velocity *= beta
    velocity += added
    param -= lr * (beta * velocity + added)
    return param, velocity


@function("param!: *, grad: *, velocity!: * -> *, *")
def sgd_momentum_step(
    xp: Any,
    param: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float,
    share: float = 1.0,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return the parameter and the velocity after ``v = momentum v + share g; p = p - lr v``.

    Before that, ``p = (1 - lr weight_decay) p``. With a share of 1, the velocity is a sum of gradients, as in
    Sutskever et al., "On the Importance of Initialization and Momentum in Deep Learning" (2013), without
    their rate in it.

    Parameters
    ----------
    param, grad, velocity : array, equal shapes, float
    lr, momentum, share, weight_decay : float

    Returns
    -------
    param, velocity : array
    """
    param = _decayed(param, lr, weight_decay)
    velocity *= momentum
    velocity += share * grad
    param -= lr * velocity
    return param, velocity


@function("param!: *, grad: *, velocity!: * -> *, *")
def sgd_nesterov_step(
    xp: Any,
    param: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return the parameter and the velocity after ``v = momentum v + g; p = p - lr (momentum v + g)``.

    Before that, ``p = (1 - lr weight_decay) p``. The same as `nesterov_step` with a sum of gradients.

    Parameters
    ----------
    param, grad, velocity : array, equal shapes, float
    lr, momentum, weight_decay : float

    Returns
    -------
    param, velocity : array
    """
    param = _decayed(param, lr, weight_decay)
    velocity *= momentum
    velocity += grad
    param -= lr * (momentum * velocity + grad)
    return param, velocity


@function("param!: *, grad: *, variance!: float[0 inf] * -> *, *")
def rmsprop_step(
    xp: Any,
    param: Array,
    grad: Array,
    variance: Array,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return the parameter and the average square after ``s = alpha s + (1 - alpha) g^2``.

    ``p = (1 - lr weight_decay) p - lr g / (sqrt(s) + eps)``: the rule of Tieleman and Hinton, "Lecture 6.5:
    RMSProp" (2012), with `eps` as in PyTorch.

    Parameters
    ----------
    param, grad, variance : array, equal shapes, float
    lr, weight_decay : float
    alpha : float, in [0, 1)
    eps : float

    Returns
    -------
    param, variance : array
    """
    param = _decayed(param, lr, weight_decay)
    variance *= alpha
    variance += (1 - alpha) * (grad * grad)
    param -= lr * grad / (xp.sqrt(variance) + eps)
    return param, variance


@function("param!: *, grad: *, mean!: *, variance!: float[0 inf] *, step: count -> *, *, *")
def adam_step(
    xp: Any,
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
    """Return the parameter and both moments after one step of Adam.

    Algorithm 1 of Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015).

    Parameters
    ----------
    param, grad, mean, variance : array, equal shapes, float
    step : int
        The number of this step, the first being 1.
    lr, beta1, beta2, eps : float

    Returns
    -------
    param, mean, variance : array
    """
    mean *= beta1
    mean += (1 - beta1) * grad
    variance *= beta2
    variance += (1 - beta2) * (grad * grad)
    unbiased_mean = mean / (1 - beta1**step)
    unbiased_variance = variance / (1 - beta2**step)
    param -= lr * unbiased_mean / (xp.sqrt(unbiased_variance) + eps)
    return param, mean, variance


@function("param!: *, grad: *, mean!: *, variance!: float[0 inf] *, step: count -> *, *, *")
def adamw_step(
    xp: Any,
    param: Array,
    grad: Array,
    mean: Array,
    variance: Array,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> tuple[Array, Array, Array]:
    """Return the parameter and both moments after one step of Adam with decoupled weight decay.

    Algorithm 2 of Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019); the decay is
    ``lr * weight_decay``, as in PyTorch. ``p = (1 - lr weight_decay) p``, then `adam_step`.

    Parameters
    ----------
    param, grad, mean, variance : array, equal shapes, float
    step : int
        The number of this step, the first being 1.
    lr, beta1, beta2, eps, weight_decay : float

    Returns
    -------
    param, mean, variance : array
    """
    param *= 1 - lr * weight_decay
    return adam_step(xp, param, grad, mean, variance, step, lr, beta1, beta2, eps)


def _decayed(param: Array, lr: float, weight_decay: float) -> Array:
    """Return a parameter after decoupled weight decay, as in `adamw_step`."""
    if weight_decay:
        param *= 1 - lr * weight_decay
    return param
