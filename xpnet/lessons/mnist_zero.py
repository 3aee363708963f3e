"""Is it a zero? Logistic regression on MNIST: one neuron with 784 inputs, all images at once.

With one row per image, a pass over all m images is two lines; ``x`` is (m, 784), ``w`` is (784, 1):

    z = x w + b         y_hat = f(z)

    J = -(1/m) sum [y log(y_hat) + (1 - y) log(1 - y_hat)]

The derivatives of f and of the logarithm cancel, and a simple formula is left:

    dJ/dz = (y_hat - y) / m         dJ/dw = x^T dJ/dz         dJ/db = sum dJ/dz

For one weight and one image, ``dJ/dw_j = (y_hat - y) x_j``: the error times the input of that weight. (The
course's derivation has ``w_j`` there; its program has ``x_j``.)

The course uses float64 throughout. float32 has seven digits, takes half the bytes, and reaches the same
accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import checks, metrics, pictures
from xpnet.checked import checked
from xpnet.datasets import Dataset, mnist
from xpnet.lessons.pace import Pace, draw_cost
from xpnet.namespace import Namespace
from xpnet.random import Stream

Array = Any


def pixels(xp: Namespace, dataset: Dataset) -> Array:
    """Return all images as numbers from 0 to 1, shape (m, 784), float32."""
    rows = xp.arange(len(dataset), dtype=xp.int32)
    return xp.nn.gather_batch(xp.asarray(dataset.images), rows, scale=1 / 255, offset=0.0, dtype=xp.float32)


def is_zero(xp: Namespace, dataset: Dataset) -> Array:
    """Return 1 for the images of a zero and 0 for the others, shape (m, 1), float32."""
    return xp.asarray((dataset.labels == 0).astype("float32")[:, None])


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
    x, y, m = pixels(xp, train), is_zero(xp, train), len(train)

    w = 0.01 * xp.asarray(Stream(seed, "init").normal((784, 1)).astype("float32"))
    b = xp.zeros((1,), dtype=xp.float32)

    pace = Pace(xp, iterations, say)
    for i in pace:
        z = xp.matmul(x, w) + b  # (m, 1)
        y_hat = xp.nn.sigmoid(z)
        # The cost from z, not from y_hat: -y z + log(1 + exp(z)), in a form that cannot overflow.
        cost = xp.mean(xp.nn.relu(z) - y * z + xp.log1p(xp.exp(-xp.abs(z))))
        dz = (y_hat - y) / m  # dJ/dz
        dw = xp.matmul(xp.matrix_transpose(x), dz)  # dJ/dw = x^T dJ/dz, (784, 1)
        db = xp.sum(dz, axis=0)
        w, b = w - dw, b - db  # a learning rate of 1
        pace.tell(i, cost)

    figures = judge(xp, xp.matmul(pixels(xp, test), w) + b, test, say)
    figures |= {"iteration": pace.told, "cost": pace.costs}
    figures["weights"] = xp.to_host(xp.reshape(w, (28, 28))).tolist()
    return figures


def judge(xp: Namespace, z: Array, test: Dataset, say: Callable[[str], object]) -> dict[str, Any]:
    """Print and return how well the logits `z`, shape (m, 1), tell zeros from other digits."""
    predicted = xp.astype(z[:, 0] > 0, xp.int32)  # y_hat > 1/2
    labels = xp.asarray((test.labels == 0).astype("int32"))
    confusion = metrics.confusion_matrix(xp, labels, predicted, 2)
    accuracy = metrics.accuracy(xp, labels, predicted)
    say(f"\nconfusion matrix, rows true, columns predicted:\n{confusion}")
    say(f"test accuracy {accuracy:.2%}\n")
    say(metrics.classification_report(confusion, ["other", "zero"]))
    wrong = mistakes(test, xp.to_host(predicted), xp.to_host(labels))
    return {"accuracy": accuracy, "confusion": confusion.tolist(), **wrong}


def mistakes(test: Dataset, predicted: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return the number, the digit and the prediction of each image that is read wrongly, and 16 images."""
    wrong = np.flatnonzero(predicted != true)
    rows = np.stack([wrong, test.labels[wrong], predicted[wrong]], axis=-1)
    return {"mistakes": rows.tolist(), "mistaken": test.images[wrong[:16]].reshape(-1, 28, 28).tolist()}


def draw_missed(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the first mistakes."""
    shown = [f"{digit}: read as {'zero' if read else 'other'}" for _, digit, read in figures["mistakes"]][:8]
    if shown:
        title = f"Mistakes: the first {len(shown)} of {len(figures['mistakes'])}"
        pictures.draw_images(figure, figures["mistaken"][:8], title, columns=8, captions=shown)


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the cost, the weights as a picture, and the first mistakes."""
    figure.set_size_inches(9, 5.5)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2, 1])
    left, right = top.subfigures(1, 2)
    draw_cost(left, figures)
    title = "The 784 weights: red speaks for a zero, blue against it"
    pictures.draw_images(right, [figures["weights"]], title, columns=1, signed=True, bar="weight")
    draw_missed(bottom, figures)
