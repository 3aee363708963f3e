"""How many steps to take at a time, so that a progress bar moves and Python is seldom asked."""

from __future__ import annotations

import time
from collections.abc import Iterator

# How much longer than the one before it a chunk may be.
_GROWTH = 4


class Pace:
    """Consecutive steps in chunks that take about the same time.

    Parameters
    ----------
    seconds : float
        What a chunk should take; with 0, each step is a chunk.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds = seconds
        self._steps = 1

    def chunks(self, steps: int) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each chunk of so many steps; they are timed until the next is asked for."""
        begin = 0
        while begin < steps:
            end = min(begin + self._steps, steps)
            started = time.perf_counter()
            yield begin, end
            self._learn(end - begin, time.perf_counter() - started)
            begin = end

    def _learn(self, steps: int, seconds: float) -> None:
        """Choose the next chunk by what this one took."""
        fitting = int(steps * self._seconds / max(seconds, 1e-9))
        # A chunk that the end cut short may have taken its time for other reasons than its steps.
        if steps == self._steps or fitting < steps:
            self._steps = max(1, min(fitting, self._steps * _GROWTH))
