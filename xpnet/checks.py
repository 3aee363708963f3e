"""Checks of numbers that a person passes, each with the error that says what to pass instead."""

from __future__ import annotations

import math
import numbers
from typing import Any


def check_count(name: str, value: Any) -> None:
    """Raise unless `value`, which the caller knows as `name`, is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{name}` must be a whole number above 0, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise unless `value` is a finite number above 0."""
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"`{name}` must be a finite number above 0, got {value!r}")


def check_share(name: str, value: Any) -> None:
    """Raise unless `value` is a number in [0, 1)."""
    if not (_is_finite(value) and 0 <= value < 1):
        raise ValueError(f"`{name}` must be in [0, 1), got {value!r}")


def check_finite(name: str, value: Any) -> None:
    """Raise unless `value` is a finite number."""
    if not _is_finite(value):
        raise ValueError(f"`{name}` must be a finite number, got {value!r}")


def _is_finite(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)
