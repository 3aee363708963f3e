"""Ten digits: softmax instead of the sigmoid, ten outputs instead of one.

    p_k = exp(z_k) / sum_j exp(z_j)     J = -(1/m) sum log(p[label])     dJ/dz = (p - one_hot(label)) / m

The gradient has the same form as the sigmoid's: probability minus truth. Only the exponential is dangerous:
exp(89) overflows float32 and exp(710) overflows float64, and then p is inf / inf. The course's program uses
the formula above as it is. Here the row's largest z is subtracted first. It cancels in the ratio, and the
largest exponent is 0:

    p_k = exp(z_k - max z) / sum_j exp(z_j - max z)

Training is full-batch, as before, from standard-normal weights. It is slow: 2000 passes over the data
for about 92 %. The next lesson exceeds that in one or two passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import checks, metrics
from xpnet.checked import checked
from xpnet.datasets import mnist
from xpnet.layers import Linear, Sigmoid
from xpnet.lessons.mnist_zero import pixels
from xpnet.lessons.mnist_zero_hidden import descend
from xpnet.lessons.pace import Pace
from xpnet.models import Sequential
from xpnet.namespace import Namespace


def run(
    xp: Namespace,
    *,
    iterations: int = 2000,
    seed: int = 138,
    limit: int | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Return accuracy and confusion matrix (rows predicted, columns true) on the test images."""
    xp = checked(xp)
    train, test = mnist()
    train = train[: checks.limit(limit)]
    model = Sequential(Linear(784, 64, "normal"), Sigmoid(), Linear(64, 10, "normal"))
    labels, true = (xp.asarray(dataset.labels.astype("int32")) for dataset in (train, test))
    pace = Pace(xp, iterations, say)
    params = descend(xp, model, seed, pixels(xp, train), labels, xp.nn.softmax_cross_entropy, pace)

    z, _ = model(xp, params, pixels(xp, test))
    predicted = xp.astype(xp.argmax(z, axis=1), xp.int32)  # the largest z has the largest p
    confusion = metrics.confusion_matrix(xp, true, predicted, 10)
    accuracy = metrics.accuracy(xp, true, predicted)
    say(f"test accuracy {accuracy:.2%}\n")
    say(metrics.classification_report(confusion))
    return {"accuracy": accuracy, "confusion": confusion.T.tolist(), "cost": pace.costs}


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the confusion matrix, with correct answers left pale so that mistakes stand out."""
    counts = figures["confusion"]
    mistakes = [[0 if i == j else n for j, n in enumerate(row)] for i, row in enumerate(counts)]
    figure.set_size_inches(6.6, 5.8)
    axes = figure.subplots()
    image = axes.imshow(mistakes, cmap="Blues")
    figure.colorbar(image, label="misclassified test images")
    darkest = max(map(max, mistakes))
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            dark = mistakes[i][j] > darkest / 2
            axes.text(j, i, n, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set(title=f"Test accuracy {figures['accuracy']:.2%}", xlabel="true digit", ylabel="predicted digit")
    axes.set(xticks=range(10), yticks=range(10))
