"""Data sets in random order, and in two parts."""

import numpy

from xpnet.datasets.dataset import Dataset
from xpnet.random import Stream

_SEED = 138


def shuffled(dataset: Dataset, *, seed: int = _SEED) -> Dataset:
    """Return the samples of a data set in random order.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        In ``[0, 2**64)``. The order depends only on it and the number of samples.
    """
    return dataset.select(Stream(seed, "shuffle").permutation(len(dataset)))


def split(dataset: Dataset, *, share: float = 0.2, seed: int = _SEED) -> tuple[Dataset, Dataset]:
    """Return a training part in random order and a test part in the old order.

    The test part has the same share of each class, rounded. Of a class with two or more samples, each part
    has at least one. A class with one sample is only in the training part.

    Parameters
    ----------
    dataset : Dataset
    share : float
        Of the test part, in (0, 1).
    seed : int
        In ``[0, 2**64)``. Equal seeds split equal labels alike.

    Raises
    ------
    ValueError
        If `share` is out of range, or each class has only one sample.
    """
    if not 0 < share < 1:
        raise ValueError(f"`share` must be in (0, 1), got {share!r}")
    order = Stream(seed, "shuffle").permutation(len(dataset))
    is_test = numpy.zeros(len(dataset), bool)
    for label in numpy.unique(dataset.labels):
        own = order[dataset.labels[order] == label]
        wanted = max(1, int(share * len(own) + 0.5))
        is_test[own[: min(wanted, len(own) - 1)]] = True
    if not is_test.any():
        raise ValueError("each class has only one sample, so there is none to test on; add some")
    return dataset.select(order[~is_test[order]]), dataset.select(numpy.flatnonzero(is_test))
