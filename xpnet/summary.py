"""A model as a table: its layers, shapes, parameters and bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from xpnet import checks, reprs, widths
from xpnet.errors import shortened
from xpnet.layer import Shape, state_shapes

_SIZES = {"float32": 4, "float64": 8}
_HEADS = "layer", "output shape", "parameters", "bytes"
_MOST_OF_A_LAYER = 60  # characters
_MOST_ROWS = 1000

Row = tuple[str, str, str, str]


class Table(str):
    """Text of several lines, which a prompt and a notebook show as they are."""

    __slots__ = ()
    __repr__ = str.__str__


def summary(model: Any, shape: Any = None, *, dtype: str = "float32") -> Table:
    """Return a table of a model's layers with their output shapes, parameters and bytes, and the totals.

    Parameters
    ----------
    model : Sequential
    shape : int or tuple of int, optional
        Of one input, without the batch: ``784``, ``(28, 28)`` or ``(28, 28, 1)``, as a `Dataset` has it. It
        completes the output shapes of a model of images; other models know their own.
    dtype : {"float32", "float64"}
        Of the parameters, for the bytes.

    Returns
    -------
    table : str
        Each layer begins with the number that begins the names of its parameters. Lengths that are not known
        are printed as ``?``. Bytes are those of parameters and state.

    Raises
    ------
    ValueError
        If the model does not take inputs of that shape, or the dtype is another one.
    """
    size = _SIZES[checks.choice(_SIZES)("dtype", dtype)]
    entering = widths.entering(model, None if shape is None else checks.shape(shape))
    widths.through(model.layers, entering)  # raises if the input does not fit
    rows = [*itertools.islice(_rows(model, entering, size), _MOST_ROWS + 1)]
    if len(rows) > _MOST_ROWS:
        rows[_MOST_ROWS:] = [("... and more layers", "", "", "")]
    parameters, state = _count(model.shapes), _count(model.state_shapes)
    totals = [
        f"parameters  {parameters:,}",
        f"state       {state:,}",
        f"bytes       {(parameters + state) * size:,} as {dtype}",
    ]
    return Table("\n".join([*_lines(rows), *totals]))


def _rows(group: Any, shape: Shape | None, size: int, numbers: tuple[int, ...] = ()) -> Iterator[Row]:
    """Yield a row for each layer, and for each layer in a layer; `numbers` lead to the group."""
    for i, layer in enumerate(group.layers):
        made = widths.shape_after(layer, shape)
        place = (*numbers, i)
        padding = len(str(len(group.layers) - 1)) - len(str(i))
        name = f"{'  ' * len(numbers)}{'.'.join(map(str, place))}{' ' * padding}  "
        if reprs.is_group(layer):
            yield f"{name}{type(layer).__name__}", _shown(made), "", ""
            yield from _rows(layer, shape, size, place)
        else:
            parameters = _count(layer.shapes)
            stored = (parameters + _count(state_shapes(layer))) * size
            name += shortened(reprs.of_layer(layer), _MOST_OF_A_LAYER)
            yield name, _shown(made), f"{parameters:,}", f"{stored:,}"
        shape = made


def _count(shapes: Mapping[str, Any]) -> int:
    """Return the number of elements of arrays with these shapes."""
    return sum(math.prod(checks.shape(shape)) for shape in shapes.values())


def _shown(shape: Shape | None) -> str:
    if shape is None:
        return "?"
    return f"(batch, {', '.join('?' if length is None else str(length) for length in shape)})"


def _lines(rows: list[Row]) -> list[str]:
    """Return the rows as lines below a head, text at the left and numbers at the right of their columns."""
    most = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]

    def line(row: Row) -> str:
        cells = zip(row, most, "<<>>", strict=True)
        return "  ".join(f"{cell:{side}{length}}" for cell, length, side in cells).rstrip()

    rule = "-" * (sum(most) + 2 * (len(most) - 1))
    return [line(_HEADS), rule, *map(line, rows), rule]
