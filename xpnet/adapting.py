"""Layers that see the training inputs before training begins, such as `Standardize`.

Such a layer has state, and a method ``adapt(xp, inputs, dtype)`` that returns it. `inputs` are all training
inputs once, as they enter the model: blocks of rows, which are NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet.batches import Scaling, spans
from xpnet.checks import float_name
from xpnet.layer import Params
from xpnet.models import Sequential
from xpnet.namespace import Namespace

_BLOCK = 1 << 20  # elements of a block, so that the copies in float64 stay small


def adapted_params(
    xp: Namespace, model: Sequential, params: Params, inputs: np.ndarray, scaling: Scaling
) -> Params:
    """Return `params` with the state of the first layer adapted to the training inputs, if it has `adapt`.

    Parameters
    ----------
    params : dict of arrays of `xp`
        Of the model; not changed.
    inputs : NumPy array, uint8 or float
        The training inputs in the shape in which they enter the model.
    scaling : Scaling
        How uint8 pixels enter it.

    Raises
    ------
    ValueError
        If a layer with `adapt` is not the first one, or see `adapt` of the layer.
    """
    found = [*_adaptable(model)]
    if not found:
        return params
    for places, layer in found:
        if any(places):
            where = ".".join(map(str, places))
            raise ValueError(
                f"layer {where}, {layer!r}, is adapted to the inputs of the model, so it must be the first "
                "layer; move it there"
            )
    places, layer = found[0]
    prefix = "".join(f"{i}." for i in places)
    dtype = float_name(xp, params[prefix + next(iter(layer.state_shapes))].dtype)
    state = layer.adapt(xp, _blocks(inputs, scaling, dtype), dtype)
    return params | {prefix + name: state[name] for name in layer.state_shapes}


def _adaptable(layer: Any, *places: int) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield the layers with `adapt`, and their places at each level of nesting."""
    if hasattr(layer, "adapt"):
        yield places, layer
    for i, inner in enumerate(getattr(layer, "layers", ())):
        yield from _adaptable(inner, *places, i)


def _blocks(inputs: np.ndarray, scaling: Scaling, dtype: str) -> Iterator[np.ndarray]:
    """Yield all inputs as `Batches.gather` gives them to the model."""
    rows = max(1, _BLOCK * len(inputs) // inputs.size)
    for begin, end in spans(len(inputs), rows):
        block = inputs[begin:end].astype(dtype)
        if inputs.dtype == np.uint8:
            block *= scaling.scale
            block += scaling.offset
        yield block
