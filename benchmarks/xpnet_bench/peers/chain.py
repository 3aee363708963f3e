"""Networks for libraries that know only linear layers with one activation between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import xpnet
from xpnet.errors import shortened
from xpnet.layer import state_shapes
from xpnet_bench.networks import layers_of
from xpnet_bench.peers.errors import NoEqualError
from xpnet_bench.workload import Start, scaled


class Chain(NamedTuple):
    """Linear layers with one activation between them.

    Attributes
    ----------
    names : list of str
        The prefixes of the names of each layer's weight and bias.
    activation : str or None
        As the library calls it; None without hidden layers.
    train, test : NumPy array, float
        The inputs, standardised before training if the network begins with that.
    """

    names: list[str]
    activation: str | None
    train: np.ndarray
    test: np.ndarray


def chain(start: Start, activations: Mapping[Any, str], dtype: type[np.floating] = np.float32) -> Chain:
    """Return a network as a chain, given what the library calls activations, and the dtype of its inputs.

    Raises
    ------
    NoEqualError
        If it has another layer, or if the layers are in another order.
    """
    layers = [layer for layer, _ in layers_of(start.trunk, None)]
    train, test = scaled(start.train.inputs, dtype), scaled(start.test.inputs, dtype)
    if isinstance(layers[0], xpnet.Standardize):
        mean, deviation = (
            next(p for name, p in start.params.items() if name.endswith(state))
            for state in state_shapes(layers.pop(0))
        )
        train, test = ((part - mean) / deviation for part in (train, test))
    for layer in sorted(layers, key=lambda layer: not isinstance(layer, xpnet.Conv2d)):
        if type(layer) is not xpnet.Linear and type(layer) not in activations:
            raise NoEqualError(f"it has no {_name(layer)}")
    between = {type(layer) for layer in layers[1::2]}
    in_order = len(layers) % 2 == 1 and all(type(layer) is xpnet.Linear for layer in layers[::2])
    if not in_order or xpnet.Linear in between or len(between) > 1 or _is_nested(start.trunk):
        raise NoEqualError("it has only linear layers with one activation between them")
    names = [name.removesuffix("weight") for name in start.trained if name.endswith("weight")]
    return Chain(names, activations[between.pop()] if between else None, train, test)


def _is_nested(layer: Any) -> bool:
    """Return whether there are residual connections."""
    return type(layer) is xpnet.Residual or any(map(_is_nested, getattr(layer, "layers", ())))


def _name(layer: Any) -> str:
    return "convolution" if isinstance(layer, xpnet.Conv2d) else shortened(type(layer).__name__, 80)
