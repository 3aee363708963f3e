"""The work of every competitor: one network, one data order, one update rule, one precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

import xpnet
from xpnet import checks
from xpnet.initializers import lecun_normal

Layer = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Workload:
    """An epoch of mini-batch training of a sigmoid network with softmax cross-entropy and averaged momentum.

    Attributes
    ----------
    sizes : tuple of int
        Features of the input, of each hidden layer and of the output.
    batch_size : int
        The last batch of an epoch holds the remainder and is used.
    lr, beta : float
        ``v = beta v + (1 - beta) g; p = p - lr v``, from ``v = 0``.
    seed : int
        Seed of the initial weights and of the order of the images.
    limit : int or None
        Number of training images to use, from the first.
    """

    sizes: tuple[int, ...] = (784, 64, 10)
    batch_size: int = 128
    lr: float = 4.0
    beta: float = 0.9
    seed: int = 138
    limit: int | None = None

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            sizes=lambda name, value: tuple(checks.count(name, size) for size in value),
            batch_size=checks.count,
            lr=checks.positive,
            beta=checks.fraction,
            seed=lambda name, value: checks.seed(value),
            limit=lambda name, value: checks.limit(value),
        )

    def data(self) -> tuple[xpnet.Dataset, xpnet.Dataset]:
        """Return the training and the test set: uint8 images (n, 784) and labels (n,)."""
        train, test = xpnet.datasets.mnist()
        return train[: self.limit], test

    def initial(self) -> list[Layer]:
        """Return the weight (n_in, n_out) and the bias (n_out,) of each layer, float32."""
        stream = xpnet.Stream(self.seed, "init")
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return [
            (lecun_normal(stream, n_in, n_out).astype(np.float32), np.zeros(n_out, np.float32))
            for n_in, n_out in pairs
        ]

    def orders(self, n: int) -> Iterator[np.ndarray]:
        """Yield the order of `n` images for one epoch after another, int32."""
        stream = xpnet.Stream(self.seed, "shuffle")
        while True:
            yield stream.permutation(n)
