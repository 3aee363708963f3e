"""The update of a parameter as plain arithmetic, for libraries that compile it."""

from __future__ import annotations

import math
from typing import Any

from xpnet_bench.updates import Update

Array = Any


def updated(
    lib: Any, rule: Update, p: Array, g: Array, states: tuple[Array, ...], step: Any
) -> tuple[Array, tuple[Array, ...]]:
    """Return a parameter and its state after one step, as new arrays.

    Parameters
    ----------
    lib : module
        With `sqrt` and `expm1`.
    rule : Update
    p, g : array
    states : tuple of array
        As many as `rule.states`; they start at 0.
    step : array or int
        The number of this step, the first being 1; only Adam reads it.
    """
    if rule.decay:
        p = p * (1 - rule.decay)
    if rule.kind == "adam":
        mean = rule.beta1 * states[0] + (1 - rule.beta1) * g
        square = rule.beta2 * states[1] + (1 - rule.beta2) * (g * g)
        # 1 - beta^step, without the cancellation of float32.
        unbiased = [-lib.expm1(step * math.log(beta)) if beta else 1.0 for beta in (rule.beta1, rule.beta2)]
        root = lib.sqrt(square / unbiased[1])
        return p - rule.lr * (mean / unbiased[0]) / (root + rule.eps), (mean, square)
    if rule.kind == "rmsprop":
        square = rule.alpha * states[0] + (1 - rule.alpha) * (g * g)
        return p - rule.lr * g / (lib.sqrt(square) + rule.eps), (square,)
    if not rule.momentum:
        return p - rule.lr * g, ()
    velocity = rule.momentum * states[0] + g
    direction = rule.momentum * velocity + g if rule.nesterov else velocity
    return p - rule.lr * direction, (velocity,)
