"""Checks of the inputs of a data set, and arrays of other libraries as NumPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy


def checked_inputs(value: Any, name: str = "inputs") -> numpy.ndarray:
    """Return `value`, the caller's argument `name`, as inputs of a data set, or raise unless it can be."""
    inputs = as_array(name, value)
    if inputs.dtype not in (numpy.uint8, numpy.float32, numpy.float64):
        raise TypeError(
            f"`{name}` must have dtype uint8, float32 or float64, got {inputs.dtype}; "
            f"{_dtype_advice(spelled(name, value), inputs)}"
        )
    if 0 in inputs.shape:
        raise ValueError(
            f"`{name}` must hold at least one sample and one feature, got shape {inputs.shape}; "
            "check how it was made"
        )
    if inputs.ndim not in (2, 3, 4):
        advice = _shape_advice(spelled(name, value), inputs)
        raise ValueError(
            f"`{name}` must have shape (n, features), (n, height, width) or (n, height, width, channels), "
            f"got {inputs.shape}; {advice}"
        )
    if inputs.dtype.kind == "f":
        _check_finite(inputs, name)
    return inputs


def _dtype_advice(name: str, inputs: numpy.ndarray) -> str:
    if inputs.dtype.kind in "iu":
        return f"for pixels in 0..255 pass `{name}.astype('uint8')`, else `{name}.astype('float32')`"
    if inputs.dtype.kind in "bf":
        return f"pass `{name}.astype('float32')`"
    return "pass real numbers"


def _shape_advice(name: str, inputs: numpy.ndarray) -> str:
    if inputs.ndim > 2:
        return f"pass `{name}.reshape{(len(inputs), math.prod(inputs.shape[1:]))}`"
    if inputs.ndim == 1:
        return f"pass one row per sample; `{name}.reshape(1, -1)` makes a row of a single one"
    return "pass one row per sample"


def _check_finite(inputs: numpy.ndarray, name: str) -> None:
    finite = numpy.isfinite(inputs).all(axis=tuple(range(1, inputs.ndim)))  # (n,)
    if not finite.all():
        row = int(finite.argmin())
        value = inputs[row][~numpy.isfinite(inputs[row])][0]
        raise ValueError(
            f"`{name}` must be finite, but row {row} holds {float(value)!r}; repair or drop the row"
        )


def spelled(name: str, value: Any) -> str:
    """Return an expression for the argument `name` that has the methods of NumPy's arrays."""
    return name if isinstance(value, numpy.ndarray) else f"numpy.asarray({name})"


def as_array(name: str, value: Any) -> numpy.ndarray:
    """Return `value` as a NumPy array in the machine's byte order."""
    try:
        array = numpy.asarray(value)
    except (TypeError, ValueError) as e:
        advice = f"pass a numpy.ndarray, for example `xp.to_host({name})` of an array of the backend `xp`"
        if isinstance(value, list | tuple):
            advice = "give all its rows the same length, and pass only numbers"
        raise TypeError(
            f"`{name}` is a {type(value).__name__} that NumPy cannot convert to an array; {advice}"
        ) from e
    # IDX readers often return big-endian arrays, which other libraries refuse.
    return array.astype(array.dtype.newbyteorder("="), copy=False)
