"""Losses: one number that says how wrong the predictions are.

The mean squared error, for n numbers ``y_hat`` that should equal ``y``:

    MSE = (1/n) sum (y - y_hat)**2

For probabilities there is a better measure: the surprise ``-log(p)``, where ``p`` is the probability that
was predicted for what really happened. With two outcomes, its mean is the binary cross-entropy; with
several classes, the categorical cross-entropy:

    BCE = -(1/n) sum [y log(y_hat) + (1 - y) log(1 - y_hat)]
    CCE = -(1/n) sum log(y_hat[class])

A confident mistake costs at most 1 in MSE, but has no upper bound in cross-entropy. That is why
classifiers learn faster with cross-entropy: the gradient does not fade where the sigmoid is flat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.checked import checked
from xpnet.namespace import Namespace


def run(xp: Namespace, *, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Return the three losses for small examples."""
    xp = checked(xp)
    y = xp.asarray([1.0, 0.0, 0.0, 1.0], dtype=xp.float64)
    y_hat = xp.zeros(4, dtype=xp.float64)
    mse = xp.mean((y - y_hat) ** 2)

    p = xp.asarray([0.9, 0.2, 0.1, 0.6], dtype=xp.float64)
    bce = -xp.mean(y * xp.log(p) + (1 - y) * xp.log(1 - p))

    probabilities = xp.asarray([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], dtype=xp.float64)
    is_class = xp.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=xp.float64)  # classes 0 and 2, one-hot
    cce = -xp.mean(xp.log(xp.sum(is_class * probabilities, axis=1)))

    figures = {"loss": mse, "binary_cross_entropy": bce, "categorical_cross_entropy": cce}
    figures = {name: float(xp.to_host(value)) for name, value in figures.items()}
    say("mean squared error of [1, 0, 0, 1] against zeros")
    say(f"    {figures['loss']}")
    say("binary cross-entropy of [1, 0, 0, 1] against [0.9, 0.2, 0.1, 0.6]")
    say(f"    {figures['binary_cross_entropy']:.4f} nats")
    say("categorical cross-entropy of classes 0 and 2, given the probabilities 0.7 and 0.1")
    say(f"    {figures['categorical_cross_entropy']:.4f} nats")

    # The library takes logits, log(p / (1 - p)) for two outcomes and log(p) for classes, so it never forms a
    # probability that could round to 0, which has no logarithm. It also returns the gradient.
    library = [
        xp.nn.squared_error(y_hat, y)[0],
        xp.nn.sigmoid_cross_entropy(xp.log(p / (1 - p)), y)[0],
        xp.nn.softmax_cross_entropy(xp.log(probabilities), xp.asarray([0, 2], dtype=xp.int32))[0],
    ]
    say("the library's: " + ", ".join(f"{float(xp.to_host(value)):.4f}" for value in library))
    return figures


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw what a prediction costs: its squared error and its surprise."""
    axes = figure.subplots()
    p = np.linspace(0.005, 1, 200)
    axes.plot(p, -np.log(p), color="#0072B2", label=r"surprise: $-\log p$")
    axes.plot(p, (1 - p) ** 2, "--", color="#D55E00", label="squared error: $(1 - p)^2$")
    for share in (0.9, 0.6, 0.1):
        axes.plot([share], [-np.log(share)], "o", color="#0072B2")
        text = f"p = {share}: {-np.log(share):.2f}"
        axes.annotate(text, (share, -np.log(share)), xytext=(6, 8), textcoords="offset points")
    axes.set(xlabel="p, predicted for what happened", ylabel="cost", xlim=(0, 1.12), ylim=(0, 5))
    axes.set(title=f"Surprise has no upper bound (here {figures['binary_cross_entropy']:.2f} on average)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
