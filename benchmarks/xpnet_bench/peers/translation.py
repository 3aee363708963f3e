"""From a network of xpnet to one of another library, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import xpnet
from xpnet.errors import shortened
from xpnet.layer import Shape, state_shapes
from xpnet.nn.windows import Window, pool_windows, windows
from xpnet.widths import shape_after
from xpnet_bench.peers.errors import NoEqualError

Array = Any
# A layer's output, given its own parameters by name, its input, and what is true or a key in training. It
# replaces the state among the parameters.
Call = Callable[[MutableMapping[str, Array], Array, Any], Array]
# From a layer, and the shape that enters it, to its call.
Table = Mapping[type[Any], Callable[[Any, Shape], Call]]


def translated(table: Table, layer: Any, shape: Shape, prefix: str = "") -> Call:
    """Return the call of a whole network, given a table of its layers.

    Everything that is known before a step is computed here, so that a library which compiles the call meets
    only its own functions.

    Parameters
    ----------
    table : Table
    layer : Layer
        Also a `Sequential` or a `Residual`.
    shape : Shape
        Of an input, as xpnet has it.
    prefix : str
        Of the names of parameters.

    Raises
    ------
    NoEqualError
        If a layer is not in the table, or has an option that the library lacks.
    """
    if type(layer) is xpnet.Residual:
        inner = translated(table, layer.inner, shape, prefix)
        return lambda params, x, training: x + inner(params, x, training)
    if type(layer) is not xpnet.Sequential:
        return _single(table, layer, shape, prefix)
    calls = []
    for i, each in enumerate(layer.layers):
        calls.append(translated(table, each, shape, f"{prefix}{i}."))
        shape = shape_after(each, shape) or ()

    def run(params: MutableMapping[str, Array], x: Array, training: Any) -> Array:
        for call in calls:
            x = call(params, x, training)
        return x

    return run


def _single(table: Table, layer: Any, shape: Shape, prefix: str) -> Call:
    call = found(table, layer)(layer, shape)
    states = [(name, prefix + name) for name in state_shapes(layer)]
    names = [(name, prefix + name) for name in layer.shapes] + states

    def run(params: MutableMapping[str, Array], x: Array, training: Any) -> Array:
        own = {name: params[full] for name, full in names}
        y = call(own, x, training)
        for name, full in states:
            params[full] = own[name]
        return y

    return run


def found(table: Mapping[Any, Any], layer: Any) -> Any:
    """Return the entry of a layer in a table, or raise if there is none."""
    if type(layer) not in table:
        raise NoEqualError(f"there is no translation of {shortened(repr(layer), 80)}")
    return table[type(layer)]


def windows_of(layer: Any, shape: Shape) -> tuple[Window, Window]:
    """Return the windows of a convolution or a pooling along height and width."""
    lengths: Any = shape[:2]
    if isinstance(layer, xpnet.Conv2d):
        options: dict[str, Any] = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
        return windows(lengths, layer.kernel_size, **options)
    return pool_windows(lengths, layer.size, stride=layer.stride, padding=layer.padding)
