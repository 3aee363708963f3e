"""The networks of the race, as models of xpnet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import xpnet
from xpnet.layer import Shape
from xpnet.widths import through

NETWORKS = "mlp", "cnn"
# Pooled or flat, from the image to the logits.
LENET_SIZES = 784, 14 * 14 * 6, 5 * 5 * 16, 120, 84, 10


def model(network: str, sizes: Sequence[int]) -> xpnet.Sequential:
    """Return a network as a model: LeNet-5, or linear layers of these sizes with sigmoids."""
    return xpnet.lenet5() if network == "cnn" else xpnet.mlp(*sizes, activation="sigmoid")


class Dense(NamedTuple):
    """A layer as the product of a matrix of inputs with a weight.

    Attributes
    ----------
    places : int
        Rows of the inputs for each example: 1, or the pixels of a convolution's output.
    n_in, n_out : int
        `n_in` of a convolution is the size of its window.
    """

    places: int
    n_in: int
    n_out: int


def dense_layers(model: xpnet.Sequential) -> list[Dense]:
    """Return the layers of a model that have a weight."""
    found = []
    shape: Shape = (model.n_in,)
    for layer in model.layers:
        shape = through([layer], shape)[1] or ()
        if "weight" in layer.shapes:
            *inputs, n_out = layer.shapes["weight"]
            found.append(Dense(math.prod(n or 0 for n in shape[:-1]), math.prod(inputs), n_out))
    return found


def parameter_count(model: xpnet.Sequential) -> int:
    """Return how many numbers a model learns."""
    return sum(math.prod(shape) for shape in model.shapes.values())


def title(network: str, sizes: Sequence[int]) -> str:
    """Return what tables and charts call a network: its name or its sizes, and how large it is."""
    if network == "mlp":
        return "-".join(map(str, sizes))
    return f"LeNet-5 with {parameter_count(model(network, sizes)):,} parameters"
