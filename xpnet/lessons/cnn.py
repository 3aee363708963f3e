"""A convolutional network: small filters that look for one pattern everywhere in an image.

So far, every hidden unit had a weight of its own for each of the 784 pixels. A filter has a few weights, here
3 x 3, which slide over the image. (Like all libraries, the formula does not turn the filter around.)

    y[r, c] = sum_ij w[i, j] x[r + i, c + j]

Two filters made by hand (Prewitt, 1970) find edges: one is large where the image gets brighter to the right,
the other where it gets brighter downwards. Small numbers then show how long the output is, along each axis:

    length = floor((n + padding - kernel) / stride) + 1

"valid" adds no padding, "same" adds the zeros that keep the length, and pooling keeps the largest number of
each window, so that a pattern may move a little. A network learns its filters by the same descent as before.
This one has the form of LeNet-5 (LeCun et al., 1998): two convolutions with pooling, then three linear
layers. A digit that moves by a pixel is the same digit, so each image is also shown moved by one pixel in
four directions. The last third of the epochs uses a tenth of the learning rate, as in deep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import checks, pictures
from xpnet.checked import checked
from xpnet.datasets import Dataset, mnist
from xpnet.lessons.mnist_zero import mistakes
from xpnet.lessons.pace import fit_in_two_stages
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.networks import lenet5

Say = Callable[[str], object]
VERTICAL = np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], dtype="float32")  # finds vertical edges
FILTERS = np.stack([VERTICAL, VERTICAL.T], axis=-1)[:, :, None, :]  # (3, 3, 1, 2)


def run(
    xp: Namespace, *, epochs: int = 3, seed: int = 138, limit: int | None = None, say: Say = print
) -> dict[str, Any]:
    """Return a digit, its edges, what the layers see of it, learned filters, accuracy and mistakes."""
    train, test = mnist()
    train = moved(train[: checks.limit(limit)])

    digit = test.images[:1] / np.float32(255)  # a seven
    edges = find_edges(checked(xp), digit.reshape(28, 28), say)

    show_shapes(checked(xp), say)

    trained = fit_in_two_stages(xp, lenet5(), train, test, 0.5, epochs, seed, say)

    wrong = mistakes(test, trained.predict(test), test.labels)
    accuracy = 1 - len(wrong["mistakes"]) / len(test)
    say(f"test accuracy {accuracy:.2%}, {len(wrong['mistakes'])} mistakes")

    first_layers = (Sequential(*trained.model.layers[:n]) for n in (3, 6))  # each up to its ReLU
    outputs = [model(checked(xp), trained.params, xp.asarray(digit))[0] for model in first_layers]
    filters = np.moveaxis(xp.to_host(trained.params["1.weight"])[:, :, 0, :], -1, 0).tolist()
    seen = [channels(xp, y).tolist() for y in outputs]
    return {"accuracy": accuracy, "filters": filters, "seen": seen, **edges, **wrong}


def channels(xp: Namespace, y: Any) -> np.ndarray:
    """Return the channels of the first image, shape (channels, height, width)."""
    return np.moveaxis(xp.to_host(y)[0], -1, 0)


def find_edges(xp: Namespace, digit: np.ndarray, say: Say) -> dict[str, Any]:
    """Print and return a digit and its edges; the vertical ones are also computed by hand."""
    x, w = xp.asarray(digit), VERTICAL.tolist()
    by_hand = sum(w[i][j] * x[i : i + 26, j : j + 26] for i in range(3) for j in range(3))
    images, bias = xp.reshape(x, (1, 28, 28, 1)), xp.zeros((2,), dtype=xp.float32)
    y = xp.nn.conv2d(images, xp.asarray(FILTERS), bias, padding="valid")  # (1, 26, 26, 2)
    vertical, horizontal = channels(xp, y)
    say("a digit; its vertical edges, + # brighter to the right, - = darker; its horizontal edges, downwards")
    edges = (pictures.as_text(each[2:-2, 2:-2], signed=True) for each in (vertical, horizontal))
    say(pictures.side_by_side(pictures.as_text(digit[3:-3, 3:-3]), *edges))
    difference = xp.to_host(xp.max(xp.abs(y[0, :, :, 0] - by_hand)))
    say(f"largest difference between the sum by hand and nn.conv2d: {float(difference):.1e}")
    return {"digit": digit.tolist(), "vertical": vertical.tolist(), "horizontal": horizontal.tolist()}


def show_shapes(xp: Namespace, say: Say) -> None:
    """Print what padding, stride and pooling make of small numbers."""
    x = xp.asarray(np.tri(6, dtype="float32")[None, :, ::-1, None].copy())
    w, bias = xp.asarray(FILTERS[..., :1].copy()), xp.zeros((1,), dtype=xp.float32)
    valid, same = (xp.nn.conv2d(x, w, bias, padding=padding) for padding in ("valid", "same"))
    shown = {"an image": x, 'its vertical edges, padding "valid"': valid, 'padding "same"': same}
    shown['padding "valid", stride 2'] = xp.nn.conv2d(x, w, bias, padding="valid", stride=2)
    shown['padding "valid", then the largest of each 2 x 2'] = xp.nn.max_pool2d(valid, size=2, stride=2)
    for name, y in shown.items():
        say(f"\n{name}\n{xp.to_host(y)[0, :, :, 0].astype(int)}")


def moved(dataset: Dataset) -> Dataset:
    """Return all images as they are, then moved by one pixel down, up, right and left."""
    images = np.pad(dataset.images.reshape(-1, 28, 28), ((0, 0), (1, 1), (1, 1)))
    copies = [images[:, r : r + 28, c : c + 28] for r, c in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    return Dataset(np.concatenate(copies).reshape(-1, 784), np.tile(dataset.labels, 5))


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the edges by hand, the learned filters, what the layers see, and the first mistakes."""
    figure.set_size_inches(9, 11.5)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # inches
    top, *parts = figure.subfigures(5, 1, height_ratios=[1.6, 1.1, 1.1, 1.6, 1.9])
    show, (left, right) = pictures.draw_images, top.subfigures(1, 2, width_ratios=[1, 2])
    names, (first, second) = ["vertical", "horizontal"], figures["seen"]
    wrong = [f"read {predicted}, is {label}" for _, label, predicted in figures["mistakes"]]
    show(left, [figures["digit"]], "A digit", columns=1)
    edges = [figures[name] for name in names]
    show(right, edges, "Its edges, by hand", columns=2, captions=names, bar="output", signed=True)
    show(parts[0], figures["filters"], "Learned filters", columns=6, bar="weight", signed=True)
    show(parts[1], first, "What these filters see of the digit", columns=6, bar="output")
    show(parts[2], second, "What the second convolution sees", columns=8, bar="output")
    show(parts[3], figures["mistaken"], f"Mistakes: the first of {len(wrong)}", columns=8, captions=wrong)
