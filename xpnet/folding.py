"""Steps one after the other, each with what the one before returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def fold(step: Callable[..., Any], carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
    """See `xpnet.Namespace.fold`: what it does with a step that is only a function, less its namespace."""
    for item in items:
        carry = next_carry(step, carry, item)
    return carry


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
