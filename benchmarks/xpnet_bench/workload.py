"""The work of every competitor: one network, one data order, one update rule, one precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

import xpnet
from xpnet import checks
from xpnet_bench import networks

Layer = tuple[np.ndarray, np.ndarray]

# Peers measure their accuracy on so many images at a time, as `xpnet.evaluate` does: the memory of training
# is reported, and convolutions of all test images would need more.
TEST_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Workload:
    """An epoch of mini-batch training of a network with softmax cross-entropy and averaged momentum.

    Attributes
    ----------
    sizes : tuple of int
        Features of the input, of each hidden layer and of the output. A "cnn" has those of LeNet-5.
    batch_size : int
        The last batch of an epoch holds the remainder and is used.
    lr, beta : float
        ``v = beta v + (1 - beta) g; p = p - lr v``, from ``v = 0``.
    seed : int
        Seed of the initial weights and of the order of the images.
    limit : int or None
        Number of training images to use, from the first.
    network : {"mlp", "cnn"}
        Linear layers with sigmoids, or LeNet-5.
    """

    sizes: tuple[int, ...] = (784, 64, 10)
    batch_size: int = 128
    lr: float = 4.0
    beta: float = 0.9
    seed: int = 138
    limit: int | None = None
    network: str = "mlp"

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            sizes=lambda name, value: tuple(checks.count(name, size) for size in value),
            batch_size=checks.count,
            lr=checks.positive,
            beta=checks.fraction,
            seed=lambda name, value: checks.seed(value),
            limit=lambda name, value: checks.limit(value),
            network=checks.choice(networks.NETWORKS),
        )
        if self.network == "cnn" and self.sizes != networks.LENET_SIZES:
            raise ValueError(f"`sizes` of the network 'cnn' must be {networks.LENET_SIZES}, got {self.sizes}")

    def data(self) -> tuple[xpnet.Dataset, xpnet.Dataset]:
        """Return the training and the test set: uint8 images (n, 784) and labels (n,)."""
        train, test = xpnet.datasets.mnist()
        return train[: self.limit], test

    def initial(self) -> list[Layer]:
        """Return the weight and the bias of each layer that has them, float32.

        A weight is (n_in, n_out), or (kernel_height, kernel_width, n_in, n_out) for a convolution.
        """
        host = xpnet.Namespace("host", np)
        arrays = list(self.model().init(host, self.seed).values())
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    def model(self) -> xpnet.Sequential:
        """Return the network as a model of xpnet."""
        return networks.model(self.network, self.sizes)

    def orders(self, n: int) -> Iterator[np.ndarray]:
        """Yield the order of `n` images for one epoch after another, int32."""
        stream = xpnet.Stream(self.seed, "shuffle")
        while True:
            yield stream.permutation(n)


# The default race of each network.
WORKLOADS = {
    "mlp": Workload(),
    # The learning rate of the sigmoid network is too large for it: half of its units would never be active.
    "cnn": Workload(networks.LENET_SIZES, lr=0.5, network="cnn"),
}
# With so few images that an answer takes a minute.
QUICK = {
    name: dataclasses.replace(WORKLOADS[name], limit=limit) for name, limit in (("mlp", 12000), ("cnn", 6000))
}
