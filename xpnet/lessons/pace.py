"""Progress of a long descent: an estimate of its time, a progress bar, and the cost at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from xpnet import checks
from xpnet.namespace import Namespace
from xpnet.progress import progress_bar

Array = Any

_TRIED, _EVERY = 3, 100


class Pace:
    """Counts the iterations of a descent and reports its progress.

    Parameters
    ----------
    xp : Namespace
    iterations : int
    say : callable
        Receives the lines to print.

    Attributes
    ----------
    costs : list of float
        The cost at the first iteration, at every hundredth after it, and at the last.
    """

    def __init__(self, xp: Namespace, iterations: int, say: Callable[[str], object]) -> None:
        self.xp = xp
        self.iterations = checks.count("iterations", iterations)
        self.say = say
        self.costs: list[float] = []

    def __iter__(self) -> Iterator[int]:
        start = 0.0
        with progress_bar(self.iterations, "descending") as advance:
            for i in range(self.iterations):
                # The first iteration includes compilation, so it is not representative.
                if i == 1:
                    self.xp.synchronize()
                    start = time.perf_counter()
                if i == 1 + _TRIED:
                    self.xp.synchronize()
                    rest = (time.perf_counter() - start) / _TRIED * (self.iterations - i)
                    self.say(f"{self.iterations} iterations, about {rest:.0f} s to go")
                yield i
                advance(1)

    def tell(self, i: int, cost: Array) -> None:
        """Print and record the cost if iteration `i` is a multiple of 100 or the last one."""
        if i % _EVERY == 0 or i == self.iterations - 1:
            self.costs.append(float(self.xp.to_host(cost)))
            self.say(f"iteration {i:4}   cost {self.costs[-1]:.4f}")
