"""Optimizers: rules that turn gradients into new parameters.

An optimizer is plain data. ``init(xp, params)`` returns its state, and it is called as
``params, state = optimizer(xp, params, grads, state)``. The arrays passed in may be overwritten; use those
returned. `params`, `grads` and each part of the state are dicts of arrays with the same names.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol

from xpnet import nn
from xpnet.checks import fraction, nonnegative, positive, set_fields
from xpnet.layer import Params
from xpnet.layers import ACTIVATIONS, Activation
from xpnet.namespace import Namespace

Array = Any
State = dict[str, Any]


class Optimizer(Protocol):
    """What `fit` requires of an optimizer; one of your own needs nothing else."""

    def init(self, xp: Namespace, params: Params) -> State:
        """Return the state before the first step."""
        ...

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        ...


class _Rule:
    """Base of the optimizers: the state and the call that follow from the declaration of the step.

    Attributes
    ----------
    function : str
        The name of the step in `nn`. Its numbers are the fields of the class. The arrays that it changes
        besides `param`, and its counts, are the parts of the state, which start at 0.
    """

    function: ClassVar[str]

    def init(self, xp: Namespace, params: Params) -> State:
        """Return the state before the first step."""
        step = nn.FUNCTIONS[self.function]
        counts = dict.fromkeys(step.varying, 0)
        return counts | {part: _zeros(xp, params) for part in step.changed[1:]}

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        step, take = nn.FUNCTIONS[self.function], getattr(xp.nn, self.function)
        parts = step.changed[1:]
        _check(xp, params, grads, *(state[part] for part in parts))
        counts = {name: state[name] + 1 for name in step.varying}
        numbers = [getattr(self, name) for name in step.numbers]
        new: dict[str, Params] = {part: {} for part in step.changed}
        for name, p in params.items():
            arrays = (state[part][name] for part in parts)
            results = take(p, grads[name], *arrays, *counts.values(), *numbers)
            for part, x in zip(step.changed, results if parts else [results], strict=True):
                new[part][name] = x
        return new.pop("param"), counts | new


@dataclasses.dataclass(frozen=True)
class SGD(_Rule):
    """Stochastic gradient descent: ``p = p - lr g``.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    """

    lr: float

    function = "sgd_step"

    def __post_init__(self) -> None:
        set_fields(self, lr=positive)


@dataclasses.dataclass(frozen=True)
class Momentum(_Rule):
    """Momentum as a moving average: ``v = beta v + (1 - beta) g; p = p - lr v``, from ``v = 0``.

    A learning rate `lr` here has the effect of ``lr * (1 - beta)`` in PyTorch, Keras and scikit-learn, whose
    velocity is a sum of gradients and not their average.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta : float
        Share of the old velocity that is kept, in [0, 1).
    """

    lr: float
    beta: float = 0.9

    function = "momentum_step"

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, beta=fraction)


@dataclasses.dataclass(frozen=True)
class Nesterov(_Rule):
    """Nesterov's momentum on a moving average: ``p = p - lr (beta v + (1 - beta) g)`` with the new `v`.

    The velocity is that of `Momentum`; see `xpnet.nn.nesterov_step` for the source.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta : float
        Share of the old velocity that is kept, in [0, 1).
    """

    lr: float
    beta: float = 0.9

    function = "nesterov_step"

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, beta=fraction)


@dataclasses.dataclass(frozen=True)
class Adam(_Rule):
    """Adam (Kingma and Ba, 2015): steps scaled by moving averages of the gradient and of its square.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta1, beta2 : float
        Shares of the old averages that are kept, in [0, 1).
    eps : float
        Keeps the division defined, above 0.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    function = "adam_step"

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, beta1=fraction, beta2=fraction, eps=positive)


@dataclasses.dataclass(frozen=True)
class AdamW(_Rule):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): ``p = (1 - lr weight_decay) p`` first.

    All parameters decay, biases too.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta1, beta2 : float
        Shares of the old averages that are kept, in [0, 1).
    eps : float
        Keeps the division defined, above 0.
    weight_decay : float
        0 or above; 0 makes it Adam.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01

    function = "adamw_step"

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, beta1=fraction, beta2=fraction, eps=positive, weight_decay=nonnegative)


OPTIMIZERS = {kind.function.removesuffix("_step"): kind for kind in _Rule.__subclasses__()}
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


def _check(xp: Namespace, params: Params, grads: Params, *states: Params) -> None:
    """Raise unless gradients and state fit the parameters, and all are arrays of `xp`."""
    for name, p in params.items():
        _check_float(xp, name, p)
        for what, arrays in (("grads", grads), *(("state", state) for state in states)):
            if name not in arrays:
                raise ValueError(f"`{what}` has no {name!r}; pass arrays with the names of `params`")
            x = arrays[name]
            xp.check_array(name, x)
            if x.shape != p.shape:
                raise ValueError(
                    f"`{what}` has shape {tuple(x.shape)} for {name!r}, but `params` has {tuple(p.shape)}"
                )
            if x.dtype != p.dtype:
                raise TypeError(
                    f"`{what}` is {x.dtype} for {name!r}, but `params` is {p.dtype}; pass arrays of one dtype"
                )


def _check_float(xp: Namespace, name: str, p: Array) -> None:
    """Raise unless a parameter is a float32 or float64 array of `xp`."""
    xp.check_array(name, p)
    if p.dtype != xp.float32 and p.dtype != xp.float64:
        raise TypeError(f"`params` must be float32 or float64, got {p.dtype} for {name!r}")


def _zeros(xp: Namespace, params: Params) -> Params:
    for name, p in params.items():
        _check_float(xp, name, p)
    return {name: xp.zeros_like(p) for name, p in params.items()}
