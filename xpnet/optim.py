"""Optimizers: rules that turn gradients into new parameters.

An optimizer is plain data. ``init(xp, params)`` returns its state, and it is called as
``params, state = optimizer(xp, params, grads, state)``. The arrays passed in may be overwritten; use those
returned. `params`, `grads` and each part of the state are dicts of arrays with the same names.

All optimizers of `xpnet` have these fields:

- `lr`, the learning rate: a number above 0, or a schedule (`xpnet.schedules`), which is asked at each step;
- `weight_decay`, 0 or above: before its step, each parameter is multiplied by ``1 - lr weight_decay``
  (decoupled decay, Loshchilov and Hutter, 2019). All parameters decay, biases too;
- `clip_norm`, None or above 0: gradients are scaled so that the norm of all numbers in them is at most this.

There are two conventions for momentum, which differ in the scale of the learning rate:

================================  =============================  ==========================================
optimizer                         velocity                       who has it
================================  =============================  ==========================================
``SGD(lr, momentum=beta)``        ``v = beta v + g``             PyTorch, Keras, scikit-learn
``Momentum(lr / (1 - beta), beta)``  ``v = beta v + (1 - beta) g``  a moving average, as in Adam
================================  =============================  ==========================================

Both rows take the same steps: a sum of gradients is ``1 / (1 - beta)`` times their average.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from xpnet.checks import fraction, positive, set_fields
from xpnet.layer import Params
from xpnet.layers import ACTIVATIONS, Activation
from xpnet.namespace import Namespace
from xpnet.rules import Rule, check_fields, option, replace_function
from xpnet.schedules import Schedule

State = dict[str, Any]


class Optimizer(Protocol):
    """What `fit` requires of an optimizer; one of your own needs nothing else."""

    def init(self, xp: Namespace, params: Params) -> State:
        """Return the state before the first step."""
        ...

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        ...


@dataclasses.dataclass(frozen=True, repr=False)
class SGD(Rule):
    """Stochastic gradient descent: ``p = p - lr g``; with momentum, ``v = momentum v + g; p = p - lr v``.

    The velocity is a sum of gradients, as in PyTorch; see `Momentum` for an average.

    Parameters
    ----------
    lr : float or schedule
        Learning rate, above 0.
    momentum : float
        Share of the old velocity that is kept, in [0, 1).
    dampening : float
        What is left out of each gradient but the first, in [0, 1): ``v = momentum v + (1 - dampening) g``.
    nesterov : bool
        Whether to look ahead along the velocity: ``p = p - lr (momentum v + g)`` with the new `v`.
    weight_decay, clip_norm : float
        See `xpnet.optim`.

    Raises
    ------
    ValueError
        If there is dampening or `nesterov` without momentum, or both.
    """

    lr: float | Schedule
    momentum: float = option(0.0, kw_only=False)
    dampening: float = option(0.0, kw_only=False)
    nesterov: bool = option(False, kw_only=False)
    weight_decay: float = option(0.0)
    clip_norm: float | None = option(None)

    function = "sgd_step"

    def __post_init__(self) -> None:
        check_fields(self, momentum=fraction, dampening=fraction)
        set_fields(self, nesterov=_flag)
        if not self.momentum and (self.dampening or self.nesterov):
            name = "nesterov" if self.nesterov else "dampening"
            raise ValueError(f"`{name}` needs momentum, but `momentum` is 0; pass for example `momentum=0.9`")
        if self.nesterov and self.dampening:
            raise ValueError(f"`nesterov` needs a `dampening` of 0, got {self.dampening}")
        if self.momentum:
            replace_function(self, "sgd_nesterov_step" if self.nesterov else "sgd_momentum_step")

    @property
    def share(self) -> Any:
        """The share of a gradient that is added to the velocity, or what takes a step and returns it."""
        return _Share(self.dampening) if self.dampening else 1.0


@dataclasses.dataclass(frozen=True)
class _Share:
    """The share of a gradient that is added to a velocity: all of the first one, as in PyTorch."""

    dampening: float

    def __call__(self, step: int) -> float:
        return 1.0 if step == 1 else 1 - self.dampening


@dataclasses.dataclass(frozen=True, repr=False)
class Momentum(Rule):
    """Momentum as a moving average: ``v = beta v + (1 - beta) g; p = p - lr v``, from ``v = 0``.

    A learning rate `lr` here has the effect of ``lr * (1 - beta)`` in `SGD`, PyTorch, Keras and scikit-learn,
    whose velocity is a sum of gradients and not their average.

    Parameters
    ----------
    lr : float or schedule
        Learning rate, above 0.
    beta : float
        Share of the old velocity that is kept, in [0, 1).
    weight_decay, clip_norm : float
        See `xpnet.optim`.
    """

    lr: float | Schedule
    beta: float = 0.9
    weight_decay: float = option(0.0)
    clip_norm: float | None = option(None)

    function = "momentum_step"

    def __post_init__(self) -> None:
        check_fields(self, beta=fraction)


@dataclasses.dataclass(frozen=True, repr=False)
class Nesterov(Rule):
    """Nesterov's momentum on a moving average: ``p = p - lr (beta v + (1 - beta) g)`` with the new `v`.

    The velocity is that of `Momentum`; see `xpnet.nn.nesterov_step` for the source.

    Parameters
    ----------
    lr : float or schedule
        Learning rate, above 0.
    beta : float
        Share of the old velocity that is kept, in [0, 1).
    weight_decay, clip_norm : float
        See `xpnet.optim`.
    """

    lr: float | Schedule
    beta: float = 0.9
    weight_decay: float = option(0.0)
    clip_norm: float | None = option(None)

    function = "nesterov_step"

    def __post_init__(self) -> None:
        check_fields(self, beta=fraction)


@dataclasses.dataclass(frozen=True, repr=False)
class Adam(Rule):
    """Adam (Kingma and Ba, 2015): steps scaled by moving averages of the gradient and of its square.

    Parameters
    ----------
    lr : float or schedule
        Learning rate, above 0.
    beta1, beta2 : float
        Shares of the old averages that are kept, in [0, 1).
    eps : float
        Keeps the division defined, above 0.
    weight_decay, clip_norm : float
        See `xpnet.optim`; with weight decay this is `AdamW`.
    """

    lr: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = option(0.0)
    clip_norm: float | None = option(None)

    function = "adam_step"

    def __post_init__(self) -> None:
        check_fields(self, beta1=fraction, beta2=fraction, eps=positive)
        if self.weight_decay:
            replace_function(self, "adamw_step")


@dataclasses.dataclass(frozen=True, repr=False)
class AdamW(Rule):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): ``p = (1 - lr weight_decay) p`` first.

    All parameters decay, biases too.

    Parameters
    ----------
    lr : float or schedule
        Learning rate, above 0.
    beta1, beta2 : float
        Shares of the old averages that are kept, in [0, 1).
    eps : float
        Keeps the division defined, above 0.
    weight_decay : float
        0 or above; 0 makes it Adam.
    clip_norm : float, optional
        See `xpnet.optim`.
    """

    lr: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = option(None)

    function = "adamw_step"

    def __post_init__(self) -> None:
        check_fields(self, beta1=fraction, beta2=fraction, eps=positive)


@dataclasses.dataclass(frozen=True, repr=False)
class RMSprop(Rule):
    """RMSprop (Tieleman and Hinton, 2012): steps scaled by a moving average of the squared gradient.

    ``s = alpha s + (1 - alpha) g^2; p = p - lr g / (sqrt(s) + eps)``, from ``s = 0``, as in PyTorch.

    Parameters
    ----------
    lr : float or schedule
        Learning rate, above 0.
    alpha : float
        Share of the old average that is kept, in [0, 1).
    eps : float
        Keeps the division defined, above 0.
    weight_decay, clip_norm : float
        See `xpnet.optim`.
    """

    lr: float | Schedule = 0.01
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = option(0.0)
    clip_norm: float | None = option(None)

    function = "rmsprop_step"

    def __post_init__(self) -> None:
        check_fields(self, alpha=fraction, eps=positive)


OPTIMIZERS: dict[str, Any] = {kind.function.removesuffix("_step"): kind for kind in Rule.__subclasses__()}
"""The optimizers of `xpnet`, by the name of their step; classes of your own are not in it."""


def usual_lr(optimizer: str, activation: str | None) -> float:
    """Return a learning rate with which a network usually learns well.

    It is the optimizer's own default. One without a default takes steps proportional to the gradient, so it
    is the hidden activation that decides.

    Parameters
    ----------
    optimizer : str
        By its name in `OPTIMIZERS`.
    activation : str or None
        That of hidden units, by its name in `ACTIVATIONS`; None for a network without any.
    """
    hidden = Activation if activation is None else ACTIVATIONS[activation]
    # Dataclasses keep a field's default as an attribute of the class.
    return float(getattr(OPTIMIZERS[optimizer], "lr", hidden.usual_lr))


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False, got {value!r}")
    return value
