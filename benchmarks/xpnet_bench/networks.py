"""What the race needs to know of a network: its matrices, its size, and what to call it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import xpnet
from xpnet.layer import Shape
from xpnet.layers import ACTIVATIONS
from xpnet.widths import entering, shape_after

NETWORKS = "mlp", "cnn"
"""The networks of the default races."""


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


def dense_layers(model: xpnet.Sequential, shape: tuple[int, ...] | None = None) -> list[Dense]:
    """Return the linear layers and the convolutions of a model.

    Parameters
    ----------
    model : Sequential
    shape : tuple of int, optional
        Of an input in the data set; needed if the model takes images.
    """
    found = []
    for layer, before in layers_of(model, entering(model, shape)):
        if isinstance(layer, xpnet.Linear | xpnet.Conv2d):
            *inputs, n_out = layer.shapes["weight"]
            after = shape_after(layer, before) or ()
            found.append(Dense(math.prod(n or 0 for n in after[:-1]), math.prod(inputs), n_out))
    return found


def layers_of(layer: Any, shape: Shape | None) -> Iterator[tuple[Any, Shape | None]]:
    """Yield each layer that has no others within, and the shape that enters it."""
    if not isinstance(layer, xpnet.Sequential | xpnet.Residual):
        yield layer, shape
        return
    for inner in layer.layers:
        yield from layers_of(inner, shape)
        shape = shape_after(inner, shape)


def parameter_count(model: xpnet.Sequential) -> int:
    """Return how many numbers a model learns."""
    return sum(math.prod(shape) for shape in model.shapes.values())


def title(model: xpnet.Sequential, name: str = "a network") -> str:
    """Return what tables and charts call a network: the widths of a perceptron, else a name and the size."""
    layers: Sequence[Any] = model.layers
    if isinstance(layers[0], xpnet.Standardize):
        layers = layers[1:]
    if _is_perceptron(layers):
        widths = (layers[0].n_in, *(layer.n_out for layer in layers[::2]))
        hidden = {getattr(type(layer), "function", "") for layer in layers[1::2]} - {"sigmoid"}
        return "-".join(map(str, widths)) + "".join(f" {each}" for each in hidden)
    first = layers[0]
    if isinstance(first, xpnet.Unflatten) and isinstance(layers[-1], xpnet.Linear):
        name = _lenet_title(model, first, layers[-1].n_out) or name
    return f"{name} with {parameter_count(model):,} parameters"


def _is_perceptron(layers: Sequence[Any]) -> bool:
    kinds = tuple(ACTIVATIONS.values())
    return (
        len(layers) % 2 == 1
        and all(type(layer) is xpnet.Linear for layer in layers[::2])
        and all(type(layer) in kinds for layer in layers[1::2])
        and len({type(layer) for layer in layers[1::2]}) <= 1
    )


def _lenet_title(model: xpnet.Sequential, first: xpnet.Unflatten, n_out: int) -> str | None:
    for name in ACTIVATIONS:
        shape = first.height, first.width, first.channels
        try:
            is_lenet = model == xpnet.lenet5(n_out, shape=shape, activation=name)
        except ValueError:
            return None
        if is_lenet:
            return "LeNet-5" if name == "relu" else f"LeNet-5 {name}"
    return None
