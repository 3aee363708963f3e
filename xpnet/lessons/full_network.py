"""A full network: 2 inputs, 2 hidden neurons, 1 output, trained one person at a time.

    name      weight    height    shifted by 135 lb and 66 in    y
    Alice     133 lb    65 in     (-2, -1)                       1
    Bob       160 lb    72 in     (25, 6)                        0
    Charlie   152 lb    70 in     (17, 4)                        0
    Diana     120 lb    60 in     (-15, -6)                      1

Shifting the columns to around 0 keeps the sigmoids away from their flat ends, where they learn nothing.

For each person, the pullback gives all nine derivatives at once, and SGD takes a step (see
gradient-descent). Every 10 epochs, after the epoch, the mean squared error over all four people is printed.
(The course prints it inside the loop over people: four times per epoch, three of them in the middle.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import checks
from xpnet.checked import checked
from xpnet.layers import Linear, Sigmoid
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.optim import SGD

PEOPLE = {"Alice": (133, 65, 1), "Bob": (160, 72, 0), "Charlie": (152, 70, 0), "Diana": (120, 60, 1)}
STRANGERS = {"Emily": (128, 63), "Frank": (155, 68)}


def run(
    xp: Namespace, *, epochs: int = 1000, seed: int = 0, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Return the losses and the predictions for two people whom the network has not seen."""
    xp = checked(xp)
    say("name      weight   height    y")
    for name, (weight, height, label) in PEOPLE.items():
        say(f"{name:8}  {weight} lb   {height} in   {label:2}")
    rows = [[weight - 135.0, height - 66.0] for weight, height, _ in PEOPLE.values()]
    x = xp.asarray(rows, dtype=xp.float64)  # (4, 2)
    y = xp.asarray([[float(label)] for _, _, label in PEOPLE.values()], dtype=xp.float64)  # (4, 1)

    model = Sequential(Linear(2, 2, "normal"), Sigmoid(), Linear(2, 1, "normal"), Sigmoid())
    params = model.init(xp, seed, dtype="float64")
    optimizer = SGD(lr=0.1)
    state = optimizer.init(xp, params)

    losses = []
    for epoch in range(checks.count("epochs", epochs)):
        for i in range(4):
            y_hat, pullback = model(xp, params, x[i : i + 1, ...])
            _, d_y_hat = xp.nn.squared_error(y_hat, y[i : i + 1, ...])
            _, grads = pullback(d_y_hat, input_gradient=False)
            params, state = optimizer(xp, params, grads, state)
        if epoch % 10 == 0:
            loss, _ = xp.nn.squared_error(model(xp, params, x)[0], y)
            losses.append(float(xp.to_host(loss)))
            say(f"epoch {epoch:4}   loss {losses[-1]:.3f}")

    figures: dict[str, Any] = {"loss": losses}
    for name, (weight, height) in STRANGERS.items():
        row = xp.asarray([[weight - 135.0, height - 66.0]], dtype=xp.float64)
        figures[name.lower()] = float(xp.to_host(model(xp, params, row)[0][0, 0]))
        say(f"{name}: {figures[name.lower()]:.3f}")

    # The output for everybody from 110 to 170 lb and from 56 to 76 in.
    weights, heights = np.meshgrid(np.linspace(110, 170, 61), np.linspace(56, 76, 41))
    everybody = np.stack([weights.ravel() - 135, heights.ravel() - 66], axis=-1)  # (2501, 2)
    outputs = xp.to_host(model(xp, params, xp.asarray(everybody))[0]).reshape(weights.shape)
    figures["map"] = {"weight": weights.tolist(), "height": heights.tolist(), "output": outputs.tolist()}
    return figures


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the loss by epoch, and the boundary between the people."""
    left, right = figure.subplots(1, 2)
    left.plot(range(0, 10 * len(figures["loss"]), 10), figures["loss"], color="#0072B2")
    left.set(title="Four people, one at a time", xlabel="epoch", ylabel="mean squared error", ylim=(0, None))
    left.grid(alpha=0.3)
    land = figures["map"]
    place = land["weight"], land["height"], land["output"]
    shades = right.contourf(*place, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.7)
    figure.colorbar(shades, ax=right, label="output")
    right.contour(*place, levels=[0.5], colors="black")
    for name, (weight, height, *label) in {**PEOPLE, **STRANGERS}.items():
        style = "o" if label == [1] else "s" if label == [0] else "*"
        right.plot(weight, height, style, color="black", markersize=5 if label else 9)
        side = {"xytext": (-7, -4), "ha": "right"} if 125 < weight < 135 else {"xytext": (5, -12)}
        right.annotate(name, (weight, height), textcoords="offset points", **side)
    right.set(title="The boundary: output 1/2 (stars: new)", xlabel="weight, lb", ylabel="height, in")
