"""The sigmoid: a smooth step, and its derivative.

    f(x) = 1 / (1 + exp(-x))

It maps any number into (0, 1): ``f(0) = 1/2``, far to the left it is nearly 0, and far to the right nearly
1. Differentiating the quotient gives a derivative that needs no new exponential:

    f'(x) = exp(-x) / (1 + exp(-x))**2 = f(x) (1 - f(x))

Its largest value is 1/4, at 0. In a deep network these quarters multiply; the lesson deep shows the
consequence.

The course's program calls the sigmoid wherever a formula names it: three times in one backward pass. Here
``y = f(x)`` is kept from the forward pass, and the derivative ``y (1 - y)`` costs only one product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.checked import checked
from xpnet.namespace import Namespace


def run(xp: Namespace, *, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Return x, f(x) and f'(x) at 100 points from -10 to 10, and f(0)."""
    xp = checked(xp)
    x = xp.linspace(-10, 10, 100, dtype=xp.float64)
    y = 1 / (1 + xp.exp(-x))  # f(x)
    slope = y * (1 - y)  # f'(x)
    at_zero = float(xp.to_host(1 / (1 + xp.exp(-xp.zeros((), dtype=xp.float64)))))

    # For x below -709, exp(-x) overflows float64. The library's sigmoid has the same values, but never
    # computes exp() of a positive number.
    difference = float(xp.to_host(xp.max(xp.abs(y - xp.nn.sigmoid(x)))))

    say(f"f(0) = {at_zero}")
    say(f"f(-10) = {float(xp.to_host(y[0])):.6f}, f(10) = {float(xp.to_host(y[-1])):.6f}")
    say(f"largest f'(x) of the 100 points: {float(xp.to_host(xp.max(slope))):.4f}")
    say(f"largest difference from xp.nn.sigmoid: {difference:.1e}")
    return {
        "output": at_zero,
        "x": xp.to_host(x).tolist(),
        "y": xp.to_host(y).tolist(),
        "slope": xp.to_host(slope).tolist(),
    }


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the curve and its derivative."""
    axes = figure.subplots()
    axes.plot(figures["x"], figures["y"], color="#0072B2", label=r"$f(x) = 1 / (1 + e^{-x})$")
    axes.plot(figures["x"], figures["slope"], "--", color="#D55E00", label="$f'(x) = f(x) (1 - f(x))$")
    axes.set(title="The sigmoid and its derivative", xlabel="x", ylabel="value")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
