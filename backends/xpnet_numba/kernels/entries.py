"""Kernels as operations of compiled steps, which find their arrays and numbers in memory."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from xpnet_numba.kernels.compiled import entry, generated, part
from xpnet_numba.kernels.memory import get, view
from xpnet_numba.operations import Operand, signature

Array = Any


def operation(function: Callable[..., None]) -> Any:
    """Compile a function as the kernel of the operation that has its name, see `xpnet_numba.operations`.

    It takes the operands and numbers by their names and, if threads divide the operation, `first` and `end`,
    the rows to be made. Operands have the shapes of their axes; one of any shape is flat.

    Raises
    ------
    TypeError
        If it takes other names than the operation.
    """
    names, compiled = tuple(inspect.signature(function).parameters), part(function)
    signature(function.__name__).check([n for n in names if n not in ("first", "end")], "its kernel takes")
    enter(function.__name__, compiled, names)
    return compiled


def enter(name: str, function: Any, names: Iterable[str] = ()) -> None:
    """Let a compiled function carry out an operation.

    Parameters
    ----------
    name : str
        Of the operation.
    function : compiled function
    names : iterable of str
        Of its arguments; as a rule the operands and the numbers, then `first` and `end` if threads divide
        the operation. Operands of any shape hold the rows to be made only.
    """
    declared = signature(name)
    lengths = {
        axis: f"get(view(row, 1, 0), {i})" for i, axis in enumerate(declared.axes, len(declared.operands))
    }
    code = {key: _code(i, operand, lengths) for i, (key, operand) in enumerate(declared.operands.items())} | {
        key: f"get(view(numbers, 1, zero), {i})" for i, key in enumerate(declared.numbers)
    }
    # Whole numbers stand behind the lengths.
    behind = len(declared.operands) + len(declared.axes)
    code |= {key: f"get(view(row, 1, 0), {i})" for i, key in enumerate(declared.counts, behind)}
    rows = () if declared.rows in (None, "*") else ("first", "end")
    arguments = ", ".join(code.get(key, key) for key in names or (*code, *rows))
    parameters = "row", "numbers", "slots", "first", "end", "zero"
    helpers = {"array": _array, "rows": _rows, "get": get, "view": view, "numpy": numpy}
    entry(generated(name, parameters, f"function({arguments})", function=function, **helpers))


def _code(i: int, operand: Operand, lengths: dict[str, str]) -> str:
    """Return the code for an operand, given that for the lengths of axes."""
    number = f"numpy.{operand.dtype}(0)" if operand.dtype else "zero"
    if operand.axes == ("*",):
        return f"rows(row, slots, {i}, {lengths['*']}, first, end, {number})"
    shape = ", ".join(lengths[axis] for axis in operand.axes) or "1"
    return f"array(row, slots, {i}, ({shape}), {number})"


@part
def _array(row: int, slots: int, i: int, shape: Any, number: Any) -> Array:
    """Return operand `i` as an array of numbers like `number`."""
    return view(get(view(slots, 1, 0), get(view(row, 1, 0), i)), shape, number)


@part
def _rows(row: int, slots: int, i: int, columns: int, first: int, end: int, number: Any) -> Array:
    """Return rows `first` to `end` of operand `i` as a flat array."""
    return _array(row, slots, i, end * columns, number)[first * columns :]
