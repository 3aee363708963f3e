"""The part of the data that early stopping is decided by."""

from __future__ import annotations

import numpy as np

from xpnet.checks import share
from xpnet.datasets import Dataset
from xpnet.random import Stream

_BLOCK = 4096  # rows at a time, because a copy of pixels as 64-bit words is eight times as large


def held_out(data: Dataset, fraction: float, *, seed: int) -> tuple[Dataset, Dataset]:
    """Return the rest and the part that is held out: about this fraction of each class, by weight.

    Samples with equal inputs stay together. So a weight of 2 is the same as the sample twice, and no sample
    of the one part has a copy in the other. Of a class, each part has a sample, if two of them differ.

    Raises
    ------
    ValueError
        If no class has two samples that differ.
    """
    fraction = share("validation_fraction", fraction)
    labels = data.targets if data.has_labels else np.zeros(len(data), int)
    weights = np.ones(len(data)) if data.sample_weight is None else data.sample_weight
    keys = _keys(data.inputs.reshape(len(data), -1), seed)
    is_out = np.zeros(len(data), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        _, group = np.unique(keys[own], return_inverse=True)
        sizes = np.bincount(group, weights=weights[own])
        before = np.cumsum(sizes) - sizes
        is_chosen = before < fraction * sizes.sum()
        is_chosen[-1] = False
        is_out[own] = is_chosen[group]
    if not is_out.any():
        raise ValueError(
            "`early_stopping` needs two samples of a class that differ, one of them to be held out, but "
            f"there is only one sample of each (n_samples = {len(data)}); pass more, or early_stopping=False"
        )
    return data.select(~is_out), data.select(is_out)


def _keys(rows: np.ndarray, seed: int) -> np.ndarray:
    """Return a random number for each row, the same for equal rows: shape (n,), uint64."""
    # Multiply-shift hashing (Dietzfelbinger et al., 1997), whose high bits decide the order.
    words = rows if rows.dtype == np.uint8 else np.ascontiguousarray(rows).view(f"u{rows.dtype.itemsize}")
    bits = np.random.Philox(key=Stream(seed, "shuffle").next_key()[0])
    factors = bits.random_raw(rows.shape[1]) | np.uint64(1)
    blocks = range(0, len(rows), _BLOCK)
    return np.concatenate([np.dot(words[i : i + _BLOCK].astype(np.uint64), factors) for i in blocks])
