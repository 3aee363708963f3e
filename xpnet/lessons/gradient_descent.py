"""Gradient descent: nine derivatives, and one small step downhill along all of them.

The derivative ``dL/dw`` says how fast the loss ``L`` grows with ``w``. To make ``L`` smaller, ``w`` must
move the other way: that is the minus sign in the rule of stochastic gradient descent (SGD). The learning
rate ``lr`` sets the size of the step:

    w = w - lr dL/dw

Each of the nine derivatives is the product along its path (see chain-rule). The paths share factors:
``delta``, at the output, is part of all nine; ``delta1`` and ``delta2``, at the hidden neurons, are part of
three each.
Computing each factor once, from the output backwards, is called backpropagation.

    delta  = -2 (y - y_hat) y_hat (1 - y_hat)
    delta1 = delta w5 h1 (1 - h1)       delta2 = delta w6 h2 (1 - h2)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.checked import checked
from xpnet.checks import count, positive
from xpnet.namespace import Namespace

Array = Any

NAMES = ("w1", "w2", "w3", "w4", "w5", "w6", "b1", "b2", "b3")
X1, X2, Y = -2.0, -1.0, 1.0  # Alice


def forward(xp: Namespace, p: Array) -> tuple[Array, Array, Array]:
    """Return h1, h2 and y_hat; `p` holds the nine parameters along its first axis."""
    w1, w2, w3, w4, w5, w6, b1, b2, b3 = (p[i, ...] for i in range(9))
    h1 = xp.nn.sigmoid(w1 * X1 + w2 * X2 + b1)
    h2 = xp.nn.sigmoid(w3 * X1 + w4 * X2 + b2)
    return h1, h2, xp.nn.sigmoid(w5 * h1 + w6 * h2 + b3)


def loss(xp: Namespace, p: Array) -> Array:
    """Return ``(y - y_hat)**2``."""
    return (Y - forward(xp, p)[2]) ** 2


def gradient(xp: Namespace, p: Array) -> Array:
    """Return the nine derivatives in the order of `NAMES`."""
    h1, h2, y_hat = forward(xp, p)
    delta = -2 * (Y - y_hat) * y_hat * (1 - y_hat)
    delta1 = delta * p[4] * h1 * (1 - h1)
    delta2 = delta * p[5] * h2 * (1 - h2)
    return xp.stack(
        [delta1 * X1, delta1 * X2, delta2 * X1, delta2 * X2, delta * h1, delta * h2, delta1, delta2, delta]
    )


def run(
    xp: Namespace, *, iterations: int = 100, lr: float = 1.0, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Return the nine derivatives at the start, the losses, and the path of w5 and b3."""
    xp = checked(xp)
    iterations, lr = count("iterations", iterations), positive("lr", lr)
    p = xp.asarray([1.0] * 6 + [0.0] * 3, dtype=xp.float64)
    first = xp.to_host(gradient(xp, p)).tolist()
    checks = [_finite_difference(xp, p, i) for i in range(9)]
    say("derivative    by hand       finite difference")
    for name, by_hand, check in zip(NAMES, first, checks, strict=True):
        say(f"dL/d{name}        {by_hand: .8f}   {check: .8f}")

    steps = [p]
    for _ in range(iterations):
        p = p - lr * gradient(xp, p)  # w = w - lr dL/dw
        steps.append(p)
    losses = [float(xp.to_host(loss(xp, p))) for p in steps]
    path = [[float(xp.to_host(p[4])), float(xp.to_host(p[8]))] for p in steps]  # w5 and b3
    say(f"loss {losses[0]:.4f} at the start, {losses[-1]:.4f} after {iterations} steps with lr = {lr:g}")

    return {
        "gradient": dict(zip(NAMES, first, strict=True)),
        "finite_differences": dict(zip(NAMES, checks, strict=True)),
        "loss": losses,
        "path": path,
        "landscape": _landscape(xp, p, path),
    }


def _finite_difference(xp: Namespace, p: Array, i: int) -> float:
    step = xp.asarray([1e-6 if j == i else 0.0 for j in range(9)], dtype=xp.float64)
    return float(xp.to_host((loss(xp, p + step) - loss(xp, p - step)) / 2e-6))


def _landscape(xp: Namespace, p: Array, path: list[list[float]]) -> dict[str, Any]:
    """Return the loss over w5 and b3 around the path; the other seven parameters come from `p`."""
    reach = [(min(side) - 0.5, max(side) + 0.5) for side in zip(*path, strict=True)]
    w5, b3 = (xp.linspace(low, high, 50, dtype=xp.float64) for low, high in reach)
    grid5, grid3 = xp.meshgrid(w5, b3)
    others = [xp.full((50, 50), float(xp.to_host(p[i])), dtype=xp.float64) for i in range(9)]
    heights = loss(xp, xp.stack([*others[:4], grid5, *others[5:8], grid3]))
    return {name: xp.to_host(value).tolist() for name, value in (("w5", w5), ("b3", b3), ("loss", heights))}


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the loss by step, and the path over a map of the loss."""
    left, right = figure.subplots(1, 2)
    left.plot(figures["loss"], color="#0072B2")
    left.set(title="The loss falls", xlabel="step", ylabel="loss", ylim=(0, None))
    left.grid(alpha=0.3)
    land = figures["landscape"]
    shades = right.contourf(land["w5"], land["b3"], land["loss"], levels=12, cmap="cividis")
    figure.colorbar(shades, label="loss")
    w5, b3 = zip(*figures["path"], strict=True)
    right.plot(w5, b3, ".-", color="white", markersize=4)
    right.annotate("start", (w5[0], b3[0]), color="black", xytext=(4, -12), textcoords="offset points")
    right.set(title="The path of $w_5$ and $b_3$", xlabel="$w_5$", ylabel="$b_3$")
