"""The rule of an optimizer, as every peer is told it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import xpnet
from xpnet_bench.errors import UnusableError


@dataclasses.dataclass(frozen=True)
class Update:
    """How a step changes a parameter `p`, given its gradient `g`.

    - ``"sgd"``: ``v = momentum v + g; p = p - lr v``, or ``p = p - lr (momentum v + g)`` of Nesterov.
    - ``"adam"``: ``m = beta1 m + (1 - beta1) g; s = beta2 s + (1 - beta2) g^2``, both without their bias,
      ``p = p - lr m / (sqrt(s) + eps)``.
    - ``"rmsprop"``: ``s = alpha s + (1 - alpha) g^2; p = p - lr g / (sqrt(s) + eps)``.

    Before that, ``p = (1 - decay) p``.
    """

    kind: Literal["sgd", "adam", "rmsprop"]
    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    alpha: float = 0.99
    eps: float = 1e-8
    decay: float = 0.0

    @property
    def states(self) -> int:
        """How many numbers it keeps for each parameter."""
        return {"sgd": int(self.momentum > 0), "adam": 2, "rmsprop": 1}[self.kind]


def update_of(optimizer: Any) -> Update:
    """Return the rule of an optimizer of xpnet.

    Raises
    ------
    UnusableError
        If it is more than such a rule, as one with a schedule is.
    """
    o, kind = optimizer, type(optimizer)
    constant = isinstance(getattr(o, "lr", None), float)
    if not constant or o.clip_norm is not None or getattr(o, "dampening", None):
        raise UnusableError(f"peers have no {o!r}; race one with a constant rate, without clipping")
    decay = o.lr * o.weight_decay
    if kind in (xpnet.Momentum, xpnet.Nesterov):
        # The peers' velocity is a sum of gradients, not their average.
        rate = o.lr * (1 - o.beta)
        return Update("sgd", rate, momentum=o.beta, nesterov=kind is xpnet.Nesterov, decay=decay)
    if kind is xpnet.SGD:
        return Update("sgd", o.lr, momentum=o.momentum, nesterov=o.nesterov, decay=decay)
    if kind in (xpnet.Adam, xpnet.AdamW):
        return Update("adam", o.lr, beta1=o.beta1, beta2=o.beta2, eps=o.eps, decay=decay)
    if kind is xpnet.RMSprop:
        return Update("rmsprop", o.lr, alpha=o.alpha, eps=o.eps, decay=decay)
    raise UnusableError(f"peers have no {o!r}; race an optimizer of xpnet")
