"""Steps one after the other, each with what the one before returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xpnet.replay.tree import is_array

Array = Any
Rows = Any
"""An array, or a tuple of arrays of one length; a row has one element less."""


def fold(step: Callable[..., Any], carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
    """See `xpnet.Namespace.fold`: what it does with a step that is only a function, less its namespace."""
    for item in items:
        carry = next_carry(step, carry, item)
    return carry


def items_of(rows: Rows, constants: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield what a step takes beside the carry for each row."""
    for i in range(length_of(rows)):
        yield row_of(rows, i), *constants


def row_of(rows: Rows, i: int) -> Any:
    """Return a row, as a step takes it."""
    return tuple(x[i, ...] for x in rows) if type(rows) is tuple else rows[i, ...]


def rows_from(rows: Rows, begin: int, end: int | None = None) -> Rows:
    """Return the rows from one on, up to another or all of them."""
    return tuple(x[begin:end, ...] for x in rows) if type(rows) is tuple else rows[begin:end, ...]


def length_of(rows: Rows) -> int:
    """Return the number of rows."""
    return int((rows[0] if type(rows) is tuple else rows).shape[0])


def check_rows(rows: Rows) -> None:
    """Raise TypeError or ValueError unless these are rows."""
    arrays = rows if type(rows) is tuple else (rows,)
    if not arrays:
        raise ValueError("`rows` is an empty tuple; pass an array, or a tuple of arrays, of one row a step")
    for i, x in enumerate(arrays):
        name = f"`rows[{i}]`" if type(rows) is tuple else "`rows`"
        if not is_array(x):
            raise TypeError(f"{name} must be an array with a row for each step, got {type(x).__name__}")
        if not x.shape:
            raise ValueError(f"{name} must have a row for each step, but it is a number, shape ()")
    lengths = [x.shape[0] for x in arrays]
    if len({*lengths}) > 1:
        raise ValueError(f"the arrays of `rows` must have as many rows as each other, got {lengths}")


def check_tuple(what: str, found: Any) -> None:
    """Raise TypeError unless arguments of a step are in a tuple."""
    if type(found) is not tuple:
        raise TypeError(f"{what} must be a tuple of arguments of the step, got {type(found).__name__}")


def next_carry(step: Callable[..., Any], carry: Any, item: Any) -> Any:
    """Return the results of a step, which must be what the next one begins with.

    Raises
    ------
    TypeError
        If they are not, or if `item` is no tuple.
    """
    check_tuple("each of `items`", item)
    result = step(*carry, *item)
    if type(result) is not tuple or len(result) != len(carry):
        found = f"a tuple of {len(result)}" if type(result) is tuple else type(result).__name__
        raise TypeError(
            f"the step must return a tuple like `carry`, which has {len(carry)} elements, got {found}"
        )
    return result
