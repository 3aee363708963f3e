"""Which rows of a batch each process of a group takes."""

from __future__ import annotations

import dataclasses

import numpy as np

from xpnet.datasets import Dataset


@dataclasses.dataclass(frozen=True)
class Part:
    """The rows of a batch that one process takes.

    Attributes
    ----------
    first : int
        The number of the first row within the batch.
    rows : int
    whole : int
        The number of rows of the batch.
    copies : int
        How many processes take these rows: 1, or all, if the batch has fewer rows than there are processes.
    """

    first: int
    rows: int
    whole: int
    copies: int = 1

    @classmethod
    def of(cls, whole: int, rank: int, size: int) -> Part:
        """Return the part of a rank in a batch of so many rows; ranks divide it evenly, in their order."""
        if whole < size:
            return cls(0, whole, whole, copies=size)
        first = rank * whole // size
        return cls(first, (rank + 1) * whole // size - first, whole)

    @classmethod
    def parsed(cls, text: str) -> Part:
        """Return the part of which this is the `str`."""
        return cls(*map(int, text.split()))

    def __str__(self) -> str:
        return f"{self.first} {self.rows} {self.whole} {self.copies}"

    def share(self, weights: np.ndarray | None) -> float:
        """Return how much of the batch these rows are; `weights` are those of all its rows."""
        if self.copies > 1:
            return 1 / self.copies
        if weights is None:
            return self.rows / self.whole
        total = float(weights.sum())
        return float(weights[self.first : self.first + self.rows].sum()) / total if total else 0.0


def own_samples(dataset: Dataset, rank: int, size: int) -> Dataset:
    """Return the samples that a rank measures with: its part, or all, if there are fewer than ranks."""
    part = Part.of(len(dataset), rank, size)
    return dataset[part.first : part.first + part.rows]
