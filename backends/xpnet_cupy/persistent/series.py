"""The numbers of all steps of a scan, computed on the host; this needs neither CuPy nor a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from xpnet.replay.program import Loop
from xpnet.replay.trace import Running


def series(running: Sequence[Running], leaves: Sequence[Any], loop: Loop, dtype: Any) -> numpy.ndarray:
    """Return numbers for each step of a loop, shape (steps, len(running)).

    Parameters
    ----------
    running : sequence of Running
    leaves : sequence
        Of the first step.
    loop : Loop
    dtype : dtype
    """
    found = numpy.empty((loop.steps, len(running)), dtype)
    for column, number in zip(found.T, running, strict=True):
        column[:] = _each(number, leaves[number.leaf] + number.added, loop)
    return found


def _each(number: Running, first: int, loop: Loop) -> Any:
    """Return a number for each step, or one for all."""
    added = loop.counted.get(number.leaf, 0)
    counts = range(first, first + loop.steps * added, added) if added else [first]
    if number.function is None:
        return counts
    # Of an array at once if the function can: a schedule of a user's takes one number.
    each = getattr(number.function, "each", None)
    return each(numpy.array(counts)) if each else [number.function(count) for count in counts]
