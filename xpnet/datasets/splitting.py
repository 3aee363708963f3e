"""Data sets in random order, and in two parts."""

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.parting import SEED
from xpnet.random import Stream


def shuffled(dataset: Dataset, *, seed: int = SEED) -> Dataset:
    """Return the samples of a data set in random order.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        In ``[0, 2**64)``. The order depends only on it and the number of samples.
    """
    return dataset.select(Stream(seed, "shuffle").permutation(len(dataset)))


def split(dataset: Dataset, *, share: float = 0.2, seed: int = SEED) -> tuple[Dataset, Dataset]:
    """Return a training part in random order and a test part in the old order: see `Dataset.split`.

    If targets are class indices, the test part has the same share of each class, rounded. Of a class with two
    or more samples, each part has at least one. A class with one sample is only in the training part.

    Raises
    ------
    ValueError
        If `share` is out of range, or each class has only one sample.
    """
    return dataset.split(share, seed=seed)
