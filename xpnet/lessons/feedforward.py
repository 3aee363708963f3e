"""Feedforward: neurons in layers, where each layer's outputs are the next layer's inputs.

    h1 = f(w . x + b)       h2 = f(w . x + b)       two hidden neurons
    y  = f(w . h + b)                               one output neuron

Here all of them have ``w = [0, 1]`` and ``b = 0``, so that you can check the numbers with a pocket
calculator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.checked import checked
from xpnet.namespace import Namespace

Array = Any


def neuron(xp: Namespace, w: Array, b: float, x: Array) -> Array:
    """Return ``f(w . x + b)``."""
    return 1 / (1 + xp.exp(-(xp.sum(w * x) + b)))


def run(xp: Namespace, *, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Return the hidden values and the output for the input [2, 3]."""
    xp = checked(xp)
    w = xp.asarray([0.0, 1.0], dtype=xp.float64)
    x = xp.asarray([2.0, 3.0], dtype=xp.float64)

    h1 = neuron(xp, w, 0.0, x)  # f(0 * 2 + 1 * 3) = f(3)
    h2 = neuron(xp, w, 0.0, x)
    h = xp.stack([h1, h2])  # (2,)
    y = neuron(xp, w, 0.0, h)  # f(0 * h1 + 1 * h2) = f(h2)

    hidden, output = float(xp.to_host(h1)), float(xp.to_host(y))
    say(f"h1 = h2 = f(3) = {hidden:.4f}")
    say(f"y = f(h2) = {output}")
    return {"h": hidden, "output": output, "x": [2.0, 3.0]}


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the computation as a graph, with a value in each node and a weight on each edge."""
    axes = figure.subplots()
    x, h, y = figures["x"], figures["h"], figures["output"]
    inputs = [((0.0, 1.0), f"x1\n{x[0]:g}"), ((0.0, 0.0), f"x2\n{x[1]:g}")]
    hidden = [((1.0, 1.0), f"h1\n{h:.4f}"), ((1.0, 0.0), f"h2\n{h:.4f}")]
    output = [((2.0, 0.5), f"y\n{y:.4f}")]
    for sources, targets in ((inputs, hidden), (hidden, output)):
        for (x1, y1), _ in targets:
            for number, ((x0, y0), _) in enumerate(sources):
                weight = number  # w = [0, 1]
                axes.plot([x0, x1], [y0, y1], "-" if weight else ":", color="#555555", zorder=1)
                # A third of the way along, so that crossing edges do not hide each other's numbers.
                place = (x0 + (x1 - x0) / 3, y0 + (y1 - y0) / 3)
                axes.annotate(f"{weight}", place, ha="center", va="center", backgroundcolor="white")
    for nodes, colour in ((inputs, "#BBBBBB"), (hidden, "#56B4E9"), (output, "#E69F00")):
        for place, text in nodes:
            axes.scatter(*place, s=3200, color=colour, edgecolors="black", zorder=2)
            axes.annotate(text, place, ha="center", va="center", zorder=3)
    axes.set(title="w = [0, 1] and b = 0 in every neuron", xlim=(-0.4, 2.4), ylim=(-0.4, 1.4))
    axes.axis("off")
