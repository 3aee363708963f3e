"""Ten digits: softmax instead of the sigmoid, ten outputs instead of one.

    p_k = exp(z_k) / sum_j exp(z_j)     J = -(1/m) sum log(p[label])     dJ/dz = (p - one_hot(label)) / m

The gradient has the same form as the sigmoid's: probability minus truth. Only the exponential is
dangerous: ``exp(89)`` overflows float32 and ``exp(710)`` overflows float64, and then ``p`` is inf / inf.
The course's program uses the formula above as it is. Here the row's largest ``z`` is subtracted first. It
cancels in the ratio, and the largest exponent is 0:

    p_k = exp(z_k - max z) / sum_j exp(z_j - max z)

Training is full-batch, as before, from standard-normal weights. It is slow: 2000 passes over the data
for about 92 %. The next lesson exceeds that in one or two passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import checks, metrics, pictures
from xpnet.checked import checked
from xpnet.datasets import mnist
from xpnet.layers import Linear, Sigmoid
from xpnet.lessons.mnist_zero import mistakes, pixels
from xpnet.lessons.mnist_zero_hidden import descend
from xpnet.lessons.pace import Pace
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.plots.matrix import draw_confusion


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
    labels, true = (xp.asarray(dataset.labels.astype("int32")) for dataset in (train, test))

    model = Sequential(Linear(784, 64, "normal"), Sigmoid(), Linear(64, 10, "normal"))
    pace = Pace(xp, iterations, say)
    params = descend(xp, model, seed, pixels(xp, train), labels, xp.nn.softmax_cross_entropy, pace)

    z, _ = model(xp, params, pixels(xp, test))
    predicted = xp.astype(xp.argmax(z, axis=1), xp.int32)  # the largest z has the largest p
    confusion = metrics.confusion_matrix(xp, true, predicted, 10)
    accuracy = metrics.accuracy(xp, true, predicted)
    say(f"test accuracy {accuracy:.2%}\n")
    say(metrics.classification_report(confusion))
    figures = {"accuracy": accuracy, "confusion": confusion.tolist()}
    figures |= {"iteration": pace.told, "cost": pace.costs}
    return figures | mistakes(test, xp.to_host(predicted), test.labels)


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the confusion matrix and the first mistakes."""
    figure.set_size_inches(7, 8.5)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.2, 1])
    draw_confusion(top, np.array(figures["confusion"]), f"Test accuracy {figures['accuracy']:.2%}")
    captions = [f"read {predicted}, is {label}" for _, label, predicted in figures["mistakes"]]
    title = f"Mistakes: the first of {len(captions)}"
    if captions:
        pictures.draw_images(bottom, figures["mistaken"], title, columns=8, captions=captions)
