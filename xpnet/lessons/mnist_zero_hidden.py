"""Is it a zero? With hidden units: the same question, for a network with 64 of them.

The network has one more layer, and the derivatives of chain-rule are computed with one row per image:

    z1 = x w1 + b1      h = f(z1)       z2 = h w2 + b2      y_hat = f(z2)

    dJ/dz2 = (y_hat - y) / m            dJ/dw2 = h^T dJ/dz2
    dJ/dz1 = dJ/dz2 w2^T * h (1 - h)    dJ/dw1 = x^T dJ/dz1

The library's `Linear` and `Sigmoid` do this: each returns its output and its pullback, the function that
takes the gradient at the output and returns the gradient at the input. The loss takes the logits
``z2`` and returns both the cost and ``dJ/dz2``, because the two share their exponentials.

The course's program calls the sigmoid wherever a formula names it: three times in a backward pass. The
pullback keeps ``h`` instead, and never calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import checks, pictures
from xpnet.checked import checked
from xpnet.datasets import mnist
from xpnet.layer import Params
from xpnet.layers import Linear, Sigmoid
from xpnet.lessons.mnist_zero import draw_missed, is_zero, judge, pixels
from xpnet.lessons.pace import Pace, draw_cost
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.optim import SGD

Array = Any


def descend(
    xp: Namespace, model: Sequential, seed: int, x: Array, y: Array, loss: Callable[..., Any], pace: Pace
) -> Params:
    """Return the parameters after full-batch descent with a learning rate of 1."""
    params = model.init(xp, seed)
    optimizer = SGD(lr=1.0)
    state = optimizer.init(xp, params)
    for i in pace:
        z, pullback = model(xp, params, x)
        cost, dz = loss(z, y)
        _, grads = pullback(dz, input_gradient=False)
        params, state = optimizer(xp, params, grads, state)
        pace.tell(i, cost)
    return params


def run(
    xp: Namespace,
    *,
    iterations: int = 2000,
    seed: int = 138,
    limit: int | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Return accuracy, confusion matrix (rows true, columns predicted) and mistakes on the test images."""
    xp = checked(xp)
    train, test = mnist()
    train = train[: checks.limit(limit)]
    x, y = pixels(xp, train), is_zero(xp, train)

    model = Sequential(Linear(784, 64, "normal"), Sigmoid(), Linear(64, 1, "normal"))
    pace = Pace(xp, iterations, say)
    params = descend(xp, model, seed, x, y, xp.nn.sigmoid_cross_entropy, pace)

    z, _ = model(xp, params, pixels(xp, test))
    figures = judge(xp, z, test, say)
    figures |= {"iteration": pace.told, "cost": pace.costs}
    learned = params["0.weight"] - model.init(xp, seed)["0.weight"]  # what the descent has added
    figures["hidden"] = xp.to_host(learned).T[:18].reshape(-1, 28, 28).tolist()
    return figures


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the cost, what some hidden units have learned, and the first mistakes."""
    figure.set_size_inches(10, 5.5)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2, 1])
    left, right = top.subfigures(1, 2, width_ratios=[1, 1.4])
    draw_cost(left, figures)
    title = f"What {len(figures['hidden'])} of the 64 hidden units have learned"
    pictures.draw_images(right, figures["hidden"], title, columns=6, signed=True, bar="change of the weight")
    draw_missed(bottom, figures)
