"""The interface of a competitor: it prepares untimed and then trains one epoch at a time."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from xpnet_bench.workload import Workload

Kind = Literal["xpnet", "peer", "limit"]


class Competitor(Protocol):
    """One way to do the workload, in its own process.

    Attributes
    ----------
    name : str
        Its name in tables.
    backend : str
        The library that does the work.
    kind : {"xpnet", "peer", "limit"}
    versions : dict of str to str
        The libraries that matter for its speed.
    device : str, optional
        Where it works; the processor if absent.
    """

    name: str
    backend: str
    kind: Kind
    versions: dict[str, str]

    def prepare(self, workload: Workload) -> None:
        """Do everything that is not timed: load the data, make the initial parameters, compile, and warm up.

        Afterwards parameters and the optimizer's state are back at their initial values.
        """
        ...

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch over the examples in this order, including the ragged last batch.

        Returns when all work is done, on the device too.
        """
        ...

    def outputs(self) -> np.ndarray | None:
        """Return the current outputs for the test set, before a final softmax; None if nothing is learned."""
        ...
