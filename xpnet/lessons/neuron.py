"""A neuron: weight the inputs, add the bias, squash the sum.

    y = f(w . x + b)        with the sigmoid f

The dot product w . x = w1 x1 + w2 x2 weights each input by its importance. The bias b shifts the point
at which the neuron begins to fire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.checked import checked
from xpnet.namespace import Namespace


def run(xp: Namespace, *, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Return the output of a neuron with weights [0, 1] and bias 4 for the input [2, 3]."""
    xp = checked(xp)
    w = xp.asarray([0.0, 1.0], dtype=xp.float64)
    b = 4.0
    x = xp.asarray([2.0, 3.0], dtype=xp.float64)

    z = xp.sum(w * x) + b  # w . x + b = 0 * 2 + 1 * 3 + 4
    y = 1 / (1 + xp.exp(-z))  # f(z)

    total, output = float(xp.to_host(z)), float(xp.to_host(y))
    say(f"w . x + b = {total}")
    say(f"f(w . x + b) = {output}")
    return {"output": output}
