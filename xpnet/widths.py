"""Which shapes go from layer to layer, and whether they fit together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpnet import checks
from xpnet.layer import Shape


def through(layers: Sequence[Any], entering: Shape | None = None) -> tuple[int | None, Shape | None]:
    """Return the number of features that the layers take, and the shape that leaves them.

    Parameters
    ----------
    layers : sequence of Layer
    entering : Shape, optional
        That of their input, if it is known.

    Raises
    ------
    ValueError
        If a layer takes other features or images than it is given.
    """
    n_in, shape, giver = None, entering, "the input"
    for i, layer in enumerate(layers):
        wanted = width(layer, "n_in")
        if shape is None:
            n_in = wanted if n_in is None else n_in
        elif wanted is not None and shape not in ((wanted,), (None,)):
            given = shape[0] if len(shape) == 1 else f"images {shape}; put a `Flatten` between them"
            raise ValueError(f"layer {i} takes {wanted} features, but {giver} gives {given}")
        try:
            made = shape_after(layer, shape)
        except ValueError as e:
            raise ValueError(f"layer {i}: {e}") from None
        if made != shape:
            giver = f"layer {i}"
        shape = made
    return n_in, shape


def entering(model: Any, shape: tuple[int, ...] | None) -> Shape | None:
    """Return the shape of an input as it enters a model, given that in a data set; None if it is not known.

    Images enter a model of features as rows, and a model of images with their channels: see `images_for`.
    """
    n_in = width(model, "n_in")
    if shape is None:
        return None if n_in is None else (n_in,)
    if len(shape) > 1 and n_in is not None:
        return (math.prod(shape),)
    return (*shape, 1) if len(shape) == 2 else shape


def shape_after(layer: Any, shape: Shape | None) -> Shape | None:
    """Return the shape that leaves a layer, given that which enters it; None if it is not known."""
    if hasattr(layer, "output_shape"):
        found: Shape | None = layer.output_shape(shape)
        return found
    n_out = width(layer, "n_out")
    return shape if n_out is None else (n_out,)


def width(layer: Any, name: str) -> int | None:
    """Return `n_in` or `n_out` of a layer, if it has that and it is a number of features."""
    found = None if getattr(layer, "takes_images", False) else getattr(layer, name, None)
    return None if found is None else checks.count(name, found)
