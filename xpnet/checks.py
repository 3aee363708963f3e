"""Checks of the numbers, names and dtypes that a person passes: what comes back is Python's own.

NumPy's numbers, arrays without dimensions, fractions and decimals count as numbers. Truth values and text do
not. Values are converted where they enter, so that no arithmetic follows NumPy's rules for small dtypes and
every object made of them can be written as JSON.
"""

from __future__ import annotations

import decimal
import math
import numbers
import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any

from xpnet.errors import shortened

_MOST_SHOWN = 150  # characters of a value


def count(name: str, value: Any) -> int:
    """Return `value`, the caller's argument `name`, as an int above 0.

    Raises
    ------
    ValueError
        If it is not a whole number, is below 1, or is more than the number of elements an array can have.
    """
    found = _whole(value)
    if found is None or found < 1:
        raise ValueError(f"`{name}` must be a whole number above 0, got {_shown(value)}")
    if found > sys.maxsize:
        raise ValueError(f"`{name}` must be at most {sys.maxsize}, got {_shown(value)}")
    return found


def not_negative(name: str, value: Any) -> int:
    """Return `value`, the caller's argument `name`, as an int, 0 or above.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    found = _whole(value)
    if found is None or found < 0:
        raise ValueError(f"`{name}` must be a whole number, 0 or above, got {_shown(value)}")
    return found


def flag(name: str, value: Any) -> bool:
    """Return `value`, the caller's argument `name`, which must be True or False.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if type(value) is not bool:
        raise TypeError(f"`{name}` must be True or False, got {_shown(value)}")
    return value


def limit(value: Any) -> int | None:
    """Return `value`, a number of samples to use from the first, as an int above 0; None means all."""
    return None if value is None else count("limit", value)


def seed(value: Any) -> int:
    """Return `value` as an int in ``[0, 2**64)``.

    Raises
    ------
    TypeError
        If it is not a whole number.
    ValueError
        If it is out of range.
    """
    found = _whole(value)
    if found is None:
        raise TypeError(f"`seed` must be an integer, got {_shown(value)}")
    if not 0 <= found < 2**64:
        raise ValueError(f"`seed` must be in [0, 2**64), got {_shown(value)}")
    return found


def shape(value: Any) -> tuple[int, ...]:
    """Return `value`, one or several whole numbers, as a tuple of ints, none negative.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    one = _whole(value)
    sizes: list[int | None] = [one]
    if one is None and getattr(value, "shape", None) != () and isinstance(value, Iterable):
        sizes = [*map(_whole, value)]
    known = tuple(size for size in sizes if size is not None and size >= 0)
    if len(known) != len(sizes):
        raise ValueError(f"`shape` must be whole numbers, none negative, got {_shown(value)}")
    return known


def positive(name: str, value: Any) -> float:
    """Return `value` as a finite float above 0, or raise a ValueError."""
    found = _real(value)
    if not 0 < found < math.inf:
        raise ValueError(f"`{name}` must be a finite number above 0, got {_shown(value)}")
    return found


def nonnegative(name: str, value: Any) -> float:
    """Return `value` as a finite float that is 0 or above, or raise a ValueError."""
    found = _real(value)
    if not 0 <= found < math.inf:
        raise ValueError(f"`{name}` must be a finite number, 0 or above, got {_shown(value)}")
    return found


def fraction(name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1), or raise a ValueError."""
    found = _real(value)
    if not 0 <= found < 1:
        raise ValueError(f"`{name}` must be in [0, 1), got {_shown(value)}")
    return found


def part(name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1], or raise a ValueError."""
    found = _real(value)
    if not 0 <= found <= 1:
        raise ValueError(f"`{name}` must be in [0, 1], got {_shown(value)}")
    return found


def share(name: str, value: Any) -> float:
    """Return `value` as a float in (0, 1), or raise a ValueError."""
    found = _real(value)
    if not 0 < found < 1:
        raise ValueError(f"`{name}` must be in (0, 1), got {_shown(value)}")
    return found


def finite(name: str, value: Any) -> float:
    """Return `value` as a finite float, or raise a ValueError."""
    found = _real(value)
    if not math.isfinite(found):
        raise ValueError(f"`{name}` must be a finite number, got {_shown(value)}")
    return found


def choice(choices: Iterable[str]) -> Callable[[str, Any], str]:
    """Return a check that returns its value as one of the str in `choices`, or raises a ValueError."""

    def check(name: str, value: Any) -> str:
        names = [*choices]
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"unknown {name} {_shown(value)}: choose one of {', '.join(names)}")
        return str(value)

    return check


def float_name(xp: Any, dtype: Any) -> str:
    """Return ``"float32"`` or ``"float64"`` for that name or that dtype of `xp`, or raise a ValueError."""
    for name in ("float32", "float64"):
        if isinstance(dtype, str) and dtype == name:
            return name
        if not isinstance(dtype, str) and dtype == getattr(xp, name, None):
            return name
    raise ValueError(f"`dtype` must be 'float32' or 'float64', got {shortened(repr(dtype), 100)}")


def set_fields(record: Any, **checks: Callable[[str, Any], Any]) -> None:
    """Replace fields of a frozen dataclass by what `checks`, named after the fields, return."""
    for name, check in checks.items():
        object.__setattr__(record, name, check(name, getattr(record, name)))


def _whole(value: Any) -> int | None:
    """Return a whole number as an int, and None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _real(value: Any) -> float:
    """Return a real number as a float, infinite if it is too large, and NaN for anything else."""
    if getattr(value, "shape", None) == ():
        value = _element(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | decimal.Decimal):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a signalling NaN of `decimal`
        return math.nan


def _element(array: Any) -> Any:
    """Return the item of an array without dimensions, as a Python object if possible."""
    if hasattr(array, "item"):
        return array.item()
    try:
        # An array of booleans could be converted to a float, but is refused.
        return None if "bool" in str(array.dtype) else float(array)
    except TypeError:
        return None


def _shown(value: Any) -> str:
    # Python cannot write a whole number of more than 4300 digits.
    if isinstance(value, int) and value.bit_length() > 2048:
        return f"a whole number of {value.bit_length()} bits"
    return shortened(repr(value), _MOST_SHOWN)
