"""How good predictions are: accuracy, the confusion matrix, and the report known from scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.checks import count
from xpnet.namespace import Namespace

Array = Any


def accuracy(xp: Namespace, labels: Array, predicted: Array) -> float:
    """Return the share of predictions that are right, in [0, 1].

    Parameters
    ----------
    labels, predicted : array, shape (n,), int
        The true classes and those predicted.
    """
    _check_pair(xp, labels, predicted)
    right = xp.sum(xp.astype(labels == predicted, xp.int32), dtype=xp.int32)
    return int(xp.to_host(right)) / labels.shape[0]


def confusion_matrix(xp: Namespace, labels: Array, predicted: Array, classes: int) -> np.ndarray:
    """Return how often each class was taken for each other.

    Parameters
    ----------
    labels, predicted : array, shape (n,), int
        The true classes and those predicted, in ``[0, classes)``; not checked.
    classes : int

    Returns
    -------
    confusion : NumPy array, shape (classes, classes), int64
        Rows are true classes, columns predicted ones, as in scikit-learn.
    """
    _check_pair(xp, labels, predicted)
    classes = count("classes", classes)
    cells = labels * classes + xp.astype(predicted, labels.dtype)
    # The standard has no bincount; the places where each value would go in the sorted list give the counts.
    edges = xp.searchsorted(xp.sort(cells), xp.arange(classes * classes + 1, dtype=cells.dtype))
    return np.diff(xp.to_host(edges)).astype(np.int64).reshape(classes, classes)


def classification_report(confusion: Any, names: Sequence[str] | None = None) -> str:
    """Return precision, recall and F1 of each class and their averages, as scikit-learn prints them.

    Parameters
    ----------
    confusion : array_like, shape (classes, classes), int
        Rows are true classes, columns predicted ones.
    names : sequence of str, optional
        What to call the classes; their numbers if omitted.

    Returns
    -------
    report : str
        A ratio with a denominator of 0 is given as 0.
    """
    counts = np.asarray(confusion)
    classes = counts.shape[0]
    right, support = np.diag(counts), counts.sum(axis=1)
    precision = _ratio(right, counts.sum(axis=0))
    recall = _ratio(right, support)
    f1 = _ratio(2 * precision * recall, precision + recall)
    table = np.stack([precision, recall, f1], axis=1)  # (classes, 3)
    total = int(support.sum())

    labels = [str(name) for name in names or range(classes)]
    width = max(len("weighted avg"), *map(len, labels))
    rows = [
        f"{'':>{width}} " + "".join(f" {h:>9}" for h in ("precision", "recall", "f1-score", "support")),
        "",
    ]
    rows += [_row(name, row, n, width) for name, row, n in zip(labels, table, support, strict=True)]
    rows += [
        "",
        f"{'accuracy':>{width}}  {'':>9} {'':>9} {_ratio(right.sum(), np.asarray(total)):>9.2f} {total:>9}",
        _row("macro avg", table.mean(axis=0), total, width),
        _row("weighted avg", _ratio(support @ table, np.asarray(total)), total, width),
    ]
    return "\n".join(rows) + "\n"


def _row(name: str, figures: np.ndarray, support: int, width: int) -> str:
    return f"{name:>{width}} " + "".join(f" {x:>9.2f}" for x in figures) + f" {support:>9}"


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator != 0)


def _check_pair(xp: Namespace, labels: Array, predicted: Array) -> None:
    xp.check_array("labels", labels)
    xp.check_array("predicted", predicted)
    if labels.ndim != 1 or tuple(labels.shape) != tuple(predicted.shape) or labels.shape[0] == 0:
        raise ValueError(
            "`labels` and `predicted` must have one equal shape (n,) with n above 0, "
            f"got {tuple(labels.shape)} and {tuple(predicted.shape)}"
        )
