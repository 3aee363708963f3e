"""A neuron: weight the inputs, add the bias, squash the sum.

    y = f(w . x + b)        with the sigmoid f

The dot product ``w . x = w1 x1 + w2 x2`` weights each input by its importance. The bias ``b`` shifts the
point at which the neuron begins to fire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.checked import checked
from xpnet.namespace import Namespace

WEIGHTS, BIAS = [0.0, 1.0], 4.0
INPUT = [2.0, 3.0]


def run(xp: Namespace, *, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Return the output of a neuron with weights [0, 1] and bias 4 for the input [2, 3]."""
    xp = checked(xp)
    w, b = xp.asarray(WEIGHTS, dtype=xp.float64), BIAS
    x = xp.asarray(INPUT, dtype=xp.float64)

    z = xp.sum(w * x) + b  # w . x + b = 0 * 2 + 1 * 3 + 4
    y = 1 / (1 + xp.exp(-z))  # f(z)

    total, output = float(xp.to_host(z)), float(xp.to_host(y))
    say(f"w . x + b = {total}")
    say(f"f(w . x + b) = {output}")
    return {"output": output}


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the sum and its place on the sigmoid, and the output for every input."""
    left, right = figure.subplots(1, 2)
    z = np.linspace(-10, 10, 201)
    total = float(np.dot(WEIGHTS, INPUT)) + BIAS
    left.plot(z, 1 / (1 + np.exp(-z)), color="#0072B2")
    left.plot([total], [figures["output"]], "o", color="#D55E00")
    left.annotate(f"f({total:g}) = {figures['output']:.4f}", (total, 0.92), ha="center", va="top")
    left.set(title="The sum, squashed", xlabel=r"$w \cdot x + b$", ylabel="output")
    left.grid(alpha=0.3)
    x1, x2 = np.meshgrid(np.linspace(-10, 10, 81), np.linspace(-10, 10, 81))
    output = 1 / (1 + np.exp(-(WEIGHTS[0] * x1 + WEIGHTS[1] * x2 + BIAS)))
    shades = right.contourf(x1, x2, output, levels=np.linspace(0, 1, 11), cmap="cividis")
    figure.colorbar(shades, ax=right, label="output")
    right.contour(x1, x2, output, levels=[0.5], colors="white")
    right.plot(*INPUT, "o", color="#D55E00", markeredgecolor="white")
    right.annotate("the input", INPUT, xytext=(6, 6), textcoords="offset points")
    right.annotate("output 1/2", (-9.5, -BIAS + 0.4), color="white", fontsize=9)
    right.set(title="The output for every input", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
