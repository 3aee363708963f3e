"""A least-squares fit of seconds with factors that are not negative."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np


def fitted(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> tuple[list[float], float]:
    """Return a factor of each term, at least 0, and the sum of the squared relative errors.

    Parameters
    ----------
    terms : sequence of sequences of float, shape (n, terms)
        A row for each measurement; its sum, each number times its factor, should be the seconds.
    seconds : sequence of float, shape (n,)
        Above 0.
    """
    measured = np.asarray(seconds, dtype=np.float64)
    rows = np.asarray(terms, dtype=np.float64) / measured[:, None]
    count = rows.shape[1]
    best, least = np.zeros(count), float(len(measured))
    # With two or three terms, all choices of those that are not 0 are few.
    for size in range(1, count + 1):
        for chosen in map(list, itertools.combinations(range(count), size)):
            factors = np.zeros(count)
            factors[chosen] = np.linalg.lstsq(rows[:, chosen], np.ones(len(measured)), rcond=None)[0]
            error = float(np.sum((rows @ factors - 1) ** 2))
            if (factors >= 0).all() and error < least:
                best, least = factors, error
    return best.tolist(), least
