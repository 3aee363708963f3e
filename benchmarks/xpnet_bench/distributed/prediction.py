"""What more ranks would bring: efficiency, speed-up, and from which batch on they pay."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xpnet_bench.distributed.compute import Compute, Work
from xpnet_bench.distributed.link import Link, allreduce

RANKS = tuple(2**k for k in range(10))
"""The numbers of ranks that the model is asked about: 1 to 512."""
PAYS = 0.8
"""The efficiency from which ranks pay: five do the work of four."""
_MOST_ROWS = 2**20

WorkOf = Callable[[int], Work]


class Prediction(NamedTuple):
    """A model of training steps of one network on any number of ranks.

    Attributes
    ----------
    compute : Compute
        Of the network.
    link : Link
        The connection of the ranks, the same between any two of them.
    """

    compute: Compute
    link: Link

    def step(self, work: Work, ranks: int) -> float:
        """Return the seconds of a step in which each rank does this work."""
        if ranks == 1:
            return self.compute.alone(work)
        return self.compute.beside(work) + allreduce(self.link, ranks, work.gradient_bytes)

    def efficiency(self, work: Work, ranks: int) -> float:
        """Return what share of the time ranks use that each do as much as one alone: weak scaling."""
        return self.compute.alone(work) / self.step(work, ranks)

    def speed_up(self, work_of: WorkOf, batch: int, ranks: int) -> float:
        """Return how many times as fast ranks are that divide the rows of one batch: strong scaling.

        `work_of` returns the work of a number of rows; the rank with the most rows counts.
        """
        return self.compute.alone(work_of(batch)) / self.step(work_of(-(-batch // ranks)), ranks)

    def least_rows(self, work_of: WorkOf, ranks: int, *, efficiency: float = PAYS) -> int | None:
        """Return from how many rows a rank on they pay, the next power of two; None if they never do."""
        rows = 1
        while rows <= _MOST_ROWS:
            if self.efficiency(work_of(rows), ranks) >= efficiency:
                return rows
            rows *= 2
        return None

    def fastest(self, work_of: WorkOf, batch: int) -> int:
        """Return how many of `RANKS`, each with a row at least, take a batch in the least time."""
        return max((n for n in RANKS if n <= batch), key=lambda n: self.speed_up(work_of, batch, n))
