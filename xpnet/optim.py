"""Optimizers: rules that turn gradients into new parameters.

An optimizer is plain data. ``init(xp, params)`` returns its state, and it is called as
``params, state = optimizer(xp, params, grads, state)``. The arrays passed in may be overwritten; use those
returned. `params`, `grads` and each part of the state are dicts of arrays with the same names.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from xpnet.checks import positive, set_fields, share
from xpnet.layers import Params
from xpnet.namespace import Namespace

Array = Any
State = dict[str, Any]


class Optimizer(Protocol):
    """What `fit` asks of an optimizer; a rule of your own needs no more."""

    def init(self, xp: Namespace, params: Params) -> State:
        """Return the state before the first step."""
        ...

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        ...


@dataclasses.dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``p = p - lr g``.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    """

    lr: float

    def __post_init__(self) -> None:
        set_fields(self, lr=positive)

    def init(self, xp: Namespace, params: Params) -> State:
        """Return an empty state."""
        return {}

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        _check(xp, params, grads)
        return {name: xp.nn.sgd_step(p, grads[name], self.lr) for name, p in params.items()}, state


@dataclasses.dataclass(frozen=True)
class _Averaged:
    """What rules with a moving average of gradients share."""

    lr: float
    beta: float = 0.9

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, beta=share)

    def init(self, xp: Namespace, params: Params) -> State:
        """Return velocities of 0."""
        return {"velocity": _zeros(xp, params)}


class Momentum(_Averaged):
    """Momentum as a moving average: ``v = beta v + (1 - beta) g; p = p - lr v``, from ``v = 0``.

    A learning rate `lr` here does what ``lr * (1 - beta)`` does where the velocity is a sum of gradients and
    not their average, as in PyTorch, Keras and scikit-learn.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta : float
        Share of the old velocity that is kept, in [0, 1).
    """

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        return _with_velocity(xp, xp.nn.momentum_step, self, params, grads, state)


class Nesterov(_Averaged):
    """Nesterov's momentum on a moving average: ``p = p - lr (beta v + (1 - beta) g)`` with the new `v`.

    The velocity is that of `Momentum`; see `xpnet.nn.nesterov_step` for the source.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    beta : float
        Share of the old velocity that is kept, in [0, 1).
    """

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        return _with_velocity(xp, xp.nn.nesterov_step, self, params, grads, state)


@dataclasses.dataclass(frozen=True)
class Adam:
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

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, beta1=share, beta2=share, eps=positive)

    def init(self, xp: Namespace, params: Params) -> State:
        """Return averages of 0 and a count of 0 steps."""
        return {"step": 0, "mean": _zeros(xp, params), "variance": _zeros(xp, params)}

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        _check(xp, params, grads, state["mean"], state["variance"])
        step = state["step"] + 1
        new: Params = {}
        means: Params = {}
        variances: Params = {}
        for name, p in params.items():
            new[name], means[name], variances[name] = xp.nn.adam_step(
                p,
                grads[name],
                state["mean"][name],
                state["variance"][name],
                step,
                self.lr,
                self.beta1,
                self.beta2,
                self.eps,
            )
        return new, {"step": step, "mean": means, "variance": variances}


def _with_velocity(
    xp: Namespace, update: Any, rule: _Averaged, params: Params, grads: Params, state: State
) -> tuple[Params, State]:
    _check(xp, params, grads, state["velocity"])
    new: Params = {}
    velocities: Params = {}
    for name, p in params.items():
        velocity = state["velocity"][name]
        new[name], velocities[name] = update(p, grads[name], velocity, rule.lr, rule.beta)
    return new, {"velocity": velocities}


def _check(xp: Namespace, params: Params, grads: Params, *states: Params) -> None:
    """Raise unless gradients and state belong to the parameters, and all of them to `xp`."""
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
