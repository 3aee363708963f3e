"""Targets on the device: what outputs are compared with, perhaps with the weights of examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.loss import CLASSES, VALUES
from xpnet.namespace import Namespace

Array = Any


class Targets:
    """Class indices or rows of numbers on the device.

    Parameters
    ----------
    xp : Namespace
    targets : NumPy array, shape (n,), int, or (n, columns), float
        Later changes must have no effect.
    weights : NumPy array, shape (n,), optional
    task : {"classes", "labels", "values"}
        See `xpnet.loss.Loss.task`.
    dtype : {"float32", "float64"}

    Attributes
    ----------
    arrays : tuple of array
        What a step takes as arguments: the targets and, if there are any, the weights.
    total_weight : float
        The sum of the weights, or the number of samples.
    """

    def __init__(
        self, xp: Namespace, targets: np.ndarray, weights: np.ndarray | None, *, task: str, dtype: str
    ) -> None:
        self._xp = xp
        self._task = task
        self._dtype = getattr(xp, dtype)
        self._are_labels = targets.ndim == 1
        stored = targets.astype(np.int32 if self._are_labels else dtype, order="C")
        self.arrays: tuple[Array, ...] = (xp.asarray(stored),)
        self.total_weight: float = len(targets)
        if weights is not None:
            self.arrays += (xp.asarray(weights.astype(dtype)),)
            self.total_weight = float(weights.sum())
        self.truth = self.arrays[0] if self._are_labels else xp.asarray(true_answers(targets, task))

    def gather_from(
        self, xp: Namespace, arrays: tuple[Array, ...], indices: Array
    ) -> tuple[Array, Array | None]:
        """Return the targets of a batch and its weights, None if there are none.

        `arrays` is like the attribute, and takes its place in a step.
        """
        targets, *weights = arrays
        found = (
            xp.nn.gather_labels(targets, indices) if self._are_labels else self._rows(xp, targets, indices)
        )
        return found, self._rows(xp, weights[0], indices) if weights else None

    def _rows(self, xp: Namespace, x: Array, indices: Array) -> Array:
        return xp.nn.gather_batch(x, indices, scale=1.0, offset=0.0, dtype=self._dtype)

    def hits(self, predicted: Array) -> Array | None:
        """Return how many of the predictions of all samples are right, shape (); None if they are values.

        Where several labels may apply to a sample, each counts as its share of one.
        """
        if self._task == VALUES:
            return None
        xp = self._xp
        right = xp.astype(predicted == self.truth, self._dtype)
        return xp.sum(right) / (1 if right.ndim == 1 else right.shape[1])


def accumulated(xp: Namespace, total: Array, loss: Array, weights: Array | None, batch: int) -> Array:
    """Return `total` plus the mean loss of a batch times the number of examples, or their weight."""
    if weights is None:
        return xp.nn.accumulate(total, loss, batch)
    return xp.nn.accumulate_weighted(total, loss, weights)


def true_answers(targets: np.ndarray, task: str) -> np.ndarray:
    """Return what predictions should be: class indices, 0 or 1 for each label, or the targets themselves.

    Parameters
    ----------
    targets : NumPy array, shape (n,), int, or (n, columns), float
        The largest of the columns is the class; a single one is that of class 1.
    task : {"classes", "labels", "values"}

    Returns
    -------
    answers : NumPy array, shape (n,) or (n, columns), int32; of values, float
    """
    if task == VALUES:
        return targets
    if targets.ndim == 1:
        return targets.astype(np.int32)
    if task == CLASSES and targets.shape[1] > 1:
        return targets.argmax(axis=1).astype(np.int32)
    answers = (targets > 0.5).astype(np.int32)
    return answers[:, 0] if task == CLASSES else answers
