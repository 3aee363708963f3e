"""Means and standard deviations of features, in float64, from blocks of rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def mean_and_deviation(blocks: Iterable[np.ndarray], n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each feature or channel.

    Parameters
    ----------
    blocks : iterable of arrays, shape (batch, n) or (batch, height, width, n), float
        At least one row in all. They are read once.
    n : int
    dtype : {"float32", "float64"}
        Of the results; the arithmetic is done in float64.

    Returns
    -------
    mean, deviation : array, shape (n,)
        The deviation is the root of the mean of the squares; 1 of a feature that is constant.

    Raises
    ------
    ValueError
        If rows have another number of features, or if squares are beyond float64.
    """
    count, mean, squares = 0, np.zeros(n), np.zeros(n)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for block in blocks:
        if block.shape[-1] != n:
            raise ValueError(f"the inputs have the shape {block.shape}, but the layer takes {n} features")
        rows = block.reshape(-1, n).astype(np.float64)
        low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
        with np.errstate(over="ignore", invalid="ignore"):
            count, mean, squares = _merged(count, mean, squares, rows)
            deviation = np.sqrt(squares / count)
    if not np.isfinite(deviation).all():
        i = int(np.isfinite(deviation).argmin())
        raise ValueError(
            f"feature {i} is {low[i]:g} to {high[i]:g}, too large to be standardised; "
            "divide it by a power of 10"
        )
    # A constant is exact, so that it becomes 0; a deviation may be too small for `dtype`.
    is_constant = (low == high) | (deviation.astype(dtype) == 0)
    return np.where(low == high, low, mean).astype(dtype), np.where(is_constant, 1, deviation).astype(dtype)


def _merged(
    count: int, mean: np.ndarray, squares: np.ndarray, rows: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return number, mean and sum of the squares around it, of earlier rows and these together.

    This is the pairwise update of Chan, Golub and LeVeque (1979), which does not cancel if the mean is large.
    """
    total, own = count + len(rows), rows.mean(axis=0)
    apart = own - mean
    squares = squares + ((rows - own) ** 2).sum(axis=0) + apart**2 * (count * len(rows) / total)
    return total, mean + apart * (len(rows) / total), squares
