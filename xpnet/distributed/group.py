"""Groups of processes that train together: what `fit` needs of one."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np


class Group(Protocol):
    """Processes that run the same program; each is given its rank.

    All methods but `guarded` are collective: every rank calls them, in the same order.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        The number of processes.
    is_split : bool
        Whether there is a group at all: False of `ALONE`, which is not the same as a group of one.
    holds_shares : bool
        Whether each process holds only the rows of the training set that it takes in the epoch.
    waited : float
        Seconds that this process has spent in `sum` since it began; nan if not known, as of sums on GPUs.
    """

    rank: int
    size: int
    is_split: bool
    holds_shares: bool
    waited: float

    def sum(self, x: np.ndarray) -> None:
        """Replace an array by the sum of those of all ranks: C-contiguous, float32 or float64."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order; on every rank."""
        ...

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        ...

    def wait(self, *, sleeps: bool = False) -> None:
        """Return when all ranks have called it; a rank that sleeps leaves its processor to others."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Return a context at whose end an exception of one rank is raised on all of them.

        A rank on which there was none raises a `DistributedError` that names the other one.
        """
        ...

    def guarded(self) -> AbstractContextManager[None]:
        """Return a context that no rank leaves waiting for this one.

        An exception that not all ranks have raised ends them all, with a line that names the rank.
        """
        ...


class Alone:
    """One process, with nobody to talk to."""

    rank = 0
    size = 1
    is_split = False
    holds_shares = False
    waited = 0.0

    def sum(self, x: np.ndarray) -> None:
        """See `Group`."""

    def gather(self, value: Any) -> list[Any]:
        """See `Group`."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """See `Group`."""
        return value

    def wait(self, *, sleeps: bool = False) -> None:
        """See `Group`."""

    def together(self) -> AbstractContextManager[None]:
        """See `Group`."""
        return contextlib.nullcontext()

    def guarded(self) -> AbstractContextManager[None]:
        """See `Group`."""
        return contextlib.nullcontext()


ALONE = Alone()
"""What trains if `fit` is given no group."""
