"""What is timed: a competitor prepares in private and then trains one epoch at a time."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from xpnet_bench.workload import Workload

Kind = Literal["xpnet", "peer", "limit"]


class Competitor(Protocol):
    """One way to do the workload; it lives in a process of its own.

    Attributes
    ----------
    name : str
        What tables call it.
    backend : str
        The library that does the work.
    kind : {"xpnet", "peer", "limit"}
    versions : dict of str to str
        The libraries that matter for its speed.
    device : str, optional
        Where it works. If there is none, on the processor.
    """

    name: str
    backend: str
    kind: Kind
    versions: dict[str, str]

    def prepare(self, workload: Workload) -> None:
        """Do what is not timed: load the data, make the initial parameters, compile, and rehearse.

        Afterwards parameters and momentum are those of the start, whatever was rehearsed.
        """
        ...

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch over the images in this order, ragged last batch included.

        Returns when all of the work is done, on the device too.
        """
        ...

    def accuracy(self) -> float | None:
        """Return the share of test images that are recognised now; None for what does not learn."""
        ...
