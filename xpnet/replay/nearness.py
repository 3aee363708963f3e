"""How close a program's results must be to its step's."""

from __future__ import annotations

from typing import Any

import numpy

# Largest allowed difference in a trial, relative to the largest change or value in an array.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def is_near(found: Any, expected: Any, start: Any, sensitivity: float = 0.0) -> bool:
    """Return whether leaves of two results are equal up to rounding.

    Parameters
    ----------
    found, expected : NumPy array or other leaf
    start : NumPy array or None
        The leaf before the step.
    sensitivity : float
        How much what the step changes may differ if what it is given is rounded otherwise.
    """
    if not isinstance(expected, numpy.ndarray):
        return type(found) is type(expected) and found == expected
    if not isinstance(found, numpy.ndarray) or found.dtype != expected.dtype:
        return False
    if expected.dtype.kind != "f":
        return numpy.array_equal(found, expected)
    finite = numpy.isfinite(expected)
    if not numpy.array_equal(numpy.isfinite(found), finite):
        return False
    values = expected[finite]
    changes = values if start is None else values - start[finite]
    tolerance = TOLERANCE[expected.dtype.name] * _largest(changes)
    rounding = 16 * numpy.finfo(expected.dtype).eps * _largest(values)
    made = found[finite] if start is None else found[finite] - start[finite]
    # A change that is nothing but rounding errors has no size, and optimizers keep its square.
    factor = 16 if sensitivity < 0.01 * _largest(made) else 1e4
    return bool(_largest(found[finite] - values) <= tolerance + rounding + factor * sensitivity)


def distance(one: Any, start: Any, other: Any, other_start: Any) -> float:
    """Return the largest difference of two changes, or of two leaves whose starts are not known.

    It is 0 if they are no arrays of floating-point numbers.
    """
    if not isinstance(one, numpy.ndarray) or one.dtype.kind != "f":
        return 0.0
    changes = (one, other) if start is None else (one - start, other - other_start)
    difference = numpy.subtract(*changes)
    return _largest(difference[numpy.isfinite(difference)])


def _largest(x: Any) -> float:
    return float(numpy.max(numpy.abs(x), initial=0.0))
