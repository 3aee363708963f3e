"""The chain rule: how the loss changes with one weight, computed by hand.

This is the network of the feedforward lesson, with a name for each of its nine parameters:

    h1 = f(w1 x1 + w2 x2 + b1)      h2 = f(w3 x1 + w4 x2 + b2)      y_hat = f(w5 h1 + w6 h2 + b3)

``w1`` affects the loss ``L = (y - y_hat)**2`` along one path, through ``h1`` and ``y_hat``, so its
derivative is a product of three factors, one for each step of the path:

    dL/dw1 = dL/dy_hat * dy_hat/dh1 * dh1/dw1

    dL/dy_hat  = -2 (y - y_hat)
    dy_hat/dh1 = w5 f'(w5 h1 + w6 h2 + b3)
    dh1/dw1    = x1 f'(w1 x1 + w2 x2 + b1)          with f' = f (1 - f)

The last factor contains the input ``x1``, not the weight. In the same way, the derivation for logistic
regression ends in ``(y_hat - y) x_j``. (The course's derivation has ``w_j`` there.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.checked import checked
from xpnet.layers import Linear, Sigmoid
from xpnet.models import Sequential
from xpnet.namespace import Namespace


def run(xp: Namespace, *, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Return dL/dw1 and its factors for Alice, (-2, -1) with y = 1; all weights are 1, all biases 0."""
    xp = checked(xp)
    x1, x2, y = -2.0, -1.0, 1.0

    def f(z: float) -> float:
        return float(xp.to_host(1 / (1 + xp.exp(xp.asarray(-z, dtype=xp.float64)))))

    def predict(w1: float) -> tuple[float, float]:
        h1 = f(w1 * x1 + 1 * x2 + 0)
        h2 = f(1 * x1 + 1 * x2 + 0)
        return h1, f(1 * h1 + 1 * h2 + 0)

    h1, y_hat = predict(w1=1.0)
    figures: dict[str, Any] = {
        "dL_dy_hat": -2 * (y - y_hat),
        "dy_hat_dh1": 1 * y_hat * (1 - y_hat),  # w5 f'
        "dh1_dw1": x1 * h1 * (1 - h1),  # x1 f'
    }
    figures["dL_dw1"] = figures["dL_dy_hat"] * figures["dy_hat_dh1"] * figures["dh1_dw1"]
    say(f"h1 = {h1:.4f}, y_hat = {y_hat:.4f}, L = {(y - y_hat) ** 2:.4f}")
    for name, value in figures.items():
        say(f"{name.replace('_d', '/d'):12} = {value: .4f}")

    # Two checks that do not depend on the derivation: the slope between two nearby points, and the
    # library's pullback, which applies the same rule to whole layers.
    step = 1e-6
    up, down = ((y - predict(1 + sign * step)[1]) ** 2 for sign in (1, -1))
    figures["finite_difference"] = (up - down) / (2 * step)
    figures["pullback"] = pullback_of_layers(xp, x1, x2, y)
    say(f"finite difference: {figures['finite_difference']:.10f}")
    say(f"library's pullback: {figures['pullback']:.10f}")

    some = [w1 / 4 for w1 in range(-12, 21)]
    figures["curve"] = {"w1": some, "loss": [(y - predict(w1)[1]) ** 2 for w1 in some]}
    return figures


def pullback_of_layers(xp: Namespace, x1: float, x2: float, y: float) -> float:
    """Return dL/dw1 as the library computes it."""
    model = Sequential(Linear(2, 2), Sigmoid(), Linear(2, 1), Sigmoid())
    params = {
        name: xp.full(shape, 1.0 if "weight" in name else 0.0, dtype=xp.float64)
        for name, shape in model.shapes.items()
    }
    y_hat, pullback = model(xp, params, xp.asarray([[x1, x2]], dtype=xp.float64))
    _, d_y_hat = xp.nn.squared_error(y_hat, xp.asarray([[y]], dtype=xp.float64))
    _, grads = pullback(d_y_hat)
    return float(xp.to_host(grads["0.weight"][0, 0]))  # from x1 to h1


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the path from w1 to the loss with its three factors, and the slope that they give."""
    left, right = figure.subplots(1, 2)
    nodes, factors = ("w_1", "h_1", r"\hat{y}", "L"), ("dh1_dw1", "dy_hat_dh1", "dL_dy_hat")
    for place, name in enumerate(nodes):
        left.scatter(place, 0, s=1600, color="#56B4E9", edgecolors="black", zorder=2)
        left.annotate(f"${name}$", (place, 0), ha="center", va="center", zorder=3, fontsize=13)
    for place, name in enumerate(factors):
        arrow = {"arrowstyle": "->", "shrinkA": 20, "shrinkB": 20}
        left.annotate("", (place + 1, 0), xytext=(place, 0), arrowprops=arrow)
        text = rf"$\partial {nodes[place + 1]} / \partial {nodes[place]}$"
        left.annotate(f"{text}\n{figures[name]:.4f}", (place + 0.5, 0.14), ha="center", va="bottom")
    product = rf"product: $\partial L / \partial w_1$ = {figures['dL_dw1']:.4f}"
    left.annotate(product, (1.5, -0.3), ha="center")
    left.set(title="One path, three factors", xlim=(-0.4, 3.4), ylim=(-0.5, 0.5))
    left.axis("off")
    curve, slope = figures["curve"], figures["dL_dw1"]
    at = curve["loss"][curve["w1"].index(1.0)]
    right.plot(curve["w1"], curve["loss"], color="#0072B2", label="the loss")
    right.plot(
        [-1, 3],
        [at - 2 * slope, at + 2 * slope],
        "--",
        color="#D55E00",
        label=r"slope $\partial L / \partial w_1$",
    )
    right.plot([1], [at], "o", color="#D55E00")
    right.set(title="The loss near $w_1 = 1$", xlabel="$w_1$", ylabel="$L$")
    right.grid(alpha=0.3)
    right.legend(frameon=False)
