"""The advice for a training that learned nothing."""

from __future__ import annotations

import math

import numpy as np


def is_chance(confusion: np.ndarray) -> bool:
    """Return whether predictions are no better than always naming the most frequent class.

    Parameters
    ----------
    confusion : NumPy array, shape (classes, classes), int
        Rows are true classes, columns predicted ones.
    """
    n, right = int(confusion.sum()), int(np.trace(confusion))
    share = int(confusion.sum(axis=1).max()) / n
    # Two standard deviations: only one in forty that know nothing is this much better by chance.
    return right < n and right / n <= share + 2 * math.sqrt(share * (1 - share) / n)


def doubt(confusion: np.ndarray, lr: float, usual: float) -> str:
    """Return why a training with learning rate `lr` learned nothing, on one line; "" if it learned."""
    if not is_chance(confusion):
        return ""
    share = confusion.sum(axis=1).max() / confusion.sum()
    if lr > usual:
        cause = f"the learning rate {lr:g} is likely too high; try `--lr {usual:g}`"
    elif lr < usual:
        cause = f"the learning rate {lr:g} is likely too low; try `--lr {usual:g}`, or more `--epochs`"
    else:
        cause = "try more `--epochs` or another `--lr`, and check that the labels belong to the images"
    return f"this is no better than always naming the most frequent class, {share:.2%}: {cause}"
