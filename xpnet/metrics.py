"""Figures of how good predictions are: of classes, of labels and of values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xpnet.checks import choice, count
from xpnet.namespace import Namespace

Array = Any


def accuracy(xp: Namespace, labels: Array, predicted: Array) -> float:
    """Return the share of correct predictions, in [0, 1].

    Parameters
    ----------
    labels, predicted : array, shape (n,), int
        The true classes and those predicted.
    """
    true, found = _on_host(xp, labels, predicted)
    return int(np.count_nonzero(true == found)) / len(true)


def top_k_accuracy(xp: Namespace, labels: Array, outputs: Array, k: int) -> float:
    """Return the share of rows whose class is among those of the `k` largest outputs, in [0, 1].

    Of equal outputs, those of lower classes count as larger.

    Parameters
    ----------
    labels : array, shape (n,), int
        The true classes.
    outputs : array, shape (n, classes), float
        Outputs, or probabilities.
    k : int

    Raises
    ------
    ValueError
        If `k` is more than there are classes, or a label is not a class.
    """
    k = count("k", k)
    xp.check_array("labels", labels)
    xp.check_array("outputs", outputs)
    true, scores = xp.to_host(labels), xp.to_host(outputs)
    if scores.ndim != 2 or true.shape != scores.shape[:1]:
        raise ValueError(
            "`labels` and `outputs` must have shapes (n,) and (n, classes), "
            f"got {true.shape} and {scores.shape}"
        )
    classes = scores.shape[1]
    if k > classes:
        raise ValueError(f"`k` must be at most the number of classes, {classes}, got {k}")
    if true.min() < 0 or true.max() >= classes:
        raise ValueError(f"`labels` must be in [0, {classes}), got {int(true.min())} to {int(true.max())}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == true[:, None]).any(axis=1).mean())


def f1(xp: Namespace, labels: Array, predicted: Array, classes: int, *, average: str = "macro") -> float:
    """Return the F1 score, the harmonic mean of precision and recall, in [0, 1].

    Parameters
    ----------
    labels, predicted : array, shape (n,), int
        The true classes and those predicted, in ``[0, classes)``.
    classes : int
    average : {"macro", "weighted", "micro", "binary"}
        The mean over the classes that occur, by itself or by their numbers of samples; that of all samples
        together, which is the accuracy; or the score of class 1 of two. As in scikit-learn.
    """
    choice(("macro", "weighted", "micro", "binary"))("average", average)
    counts = confusion_matrix(xp, labels, predicted, classes)
    right, support, found = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    if average == "micro":
        return float(right.sum() / counts.sum())
    scores = _ratio(2 * right, support + found)
    if average == "binary":
        if len(counts) != 2:
            raise ValueError(f"`average='binary'` is for 2 classes, but `classes` is {classes}")
        return float(scores[1])
    weights = support if average == "weighted" else (support + found > 0).astype(np.int64)
    return float(_average(scores[None], weights)[0])


def mean_absolute_error(xp: Namespace, targets: Array, outputs: Array) -> float:
    """Return the mean of ``|output - target|`` over all elements.

    Parameters
    ----------
    targets, outputs : array, equal shapes, float
    """
    true, found = _values(xp, targets, outputs)
    return float(np.abs(found - true).mean())


def mean_squared_error(xp: Namespace, targets: Array, outputs: Array) -> float:
    """Return the mean of ``(output - target)**2`` over all elements.

    Parameters
    ----------
    targets, outputs : array, equal shapes, float
    """
    true, found = _values(xp, targets, outputs)
    return float(((found - true) ** 2).mean())


def r2(xp: Namespace, targets: Array, outputs: Array) -> float:
    """Return the coefficient of determination, R^2: at most 1, and 0 for outputs that are the mean target.

    Of several columns, it is the mean of theirs. A column whose targets are all equal gives 1 if the outputs
    are the same, else 0. As in scikit-learn.

    Parameters
    ----------
    targets, outputs : array, shape (n,) or (n, columns), float
    """
    true, found = (x.reshape(len(x), -1) for x in _values(xp, targets, outputs))
    errors = ((found - true) ** 2).sum(axis=0)
    spread = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    scores = 1 - np.divide(errors, spread, out=(errors > 0).astype(np.float64), where=spread > 0)
    return float(scores.mean())


def confusion_matrix(xp: Namespace, labels: Array, predicted: Array, classes: int) -> np.ndarray:
    """Return how often each class was predicted for each true class.

    Parameters
    ----------
    labels, predicted : array, shape (n,), int
        The true classes and those predicted, in ``[0, classes)``.
    classes : int

    Returns
    -------
    confusion : NumPy array, shape (classes, classes), int64
        Rows are true classes, columns predicted ones, as in scikit-learn.

    Raises
    ------
    ValueError
        If the shapes differ, or a label is not a class.
    """
    classes = count("classes", classes)
    true, found = _on_host(xp, labels, predicted)
    for name, x in (("labels", true), ("predicted", found)):
        least, most = int(x.min()), int(x.max())
        if least < 0 or most >= classes:
            raise ValueError(
                f"`{name}` must be in [0, {classes}), got {least if least < 0 else most}; "
                "raise `classes`, or number the classes 0, 1, 2, ..."
            )
    cells = true.astype(np.int64) * classes + found.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def classification_report(confusion: Any, names: Iterable[Any] | None = None) -> str:
    """Return precision, recall and F1 of each class and their averages, as scikit-learn prints them.

    Classes that are neither true nor predicted anywhere are left out, also of the averages.

    Parameters
    ----------
    confusion : array_like, shape (classes, classes), int
        Rows are true classes, columns predicted ones.
    names : iterable of str, optional
        Names of the classes, one for each row of `confusion`; their numbers if omitted.

    Returns
    -------
    report : str
        A ratio with a denominator of 0 is printed as 0.

    Raises
    ------
    ValueError, TypeError
        If `confusion` is not such a matrix, or `names` has the wrong length.
    """
    counts = _checked_counts(confusion)
    labels = _checked_names(names, len(counts))
    occurring = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    labels, counts = [labels[i] for i in occurring], counts[np.ix_(occurring, occurring)]
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    f1 = _ratio(2 * right, support + predicted)
    table = np.stack([_ratio(right, predicted), _ratio(right, support), f1])  # (3, classes that occur)
    total = support.sum()

    width = max(map(len, ["weighted avg", *labels]))
    rows = [
        f"{'':>{width}} " + "".join(f" {h:>9}" for h in ("precision", "recall", "f1-score", "support")),
        "",
    ]
    rows += [_row(name, row, n, width) for name, row, n in zip(labels, table.T, support, strict=True)]
    rows += [
        "",
        f"{'accuracy':>{width}}  {'':>9} {'':>9} {_ratio(right.sum(), total):>9.2f} {total:>9}",
        _row("macro avg", _average(table, np.ones_like(support)), total, width),
        _row("weighted avg", _average(table, support), total, width),
    ]
    return "\n".join(rows) + "\n"


def _row(name: str, figures: np.ndarray, support: int, width: int) -> str:
    return f"{name:>{width}} " + "".join(f" {x:>9.2f}" for x in figures) + f" {support:>9}"


def _average(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _ratio((table * weights).sum(axis=1), weights.sum())


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator != 0)


def _checked_counts(confusion: Any) -> np.ndarray:
    counts = np.asarray(confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(
            f"`confusion` must have shape (classes, classes), got {counts.shape}; "
            "pass what `metrics.confusion_matrix` returns"
        )
    if counts.dtype.kind not in "iu":
        raise TypeError(
            f"`confusion` must have an integer dtype, got {counts.dtype}; pass counts, not shares"
        )
    if counts.min() < 0:
        raise ValueError(f"`confusion` must not be negative, got {int(counts.min())}; pass counts")
    return counts.astype(np.int64)


def _checked_names(names: Iterable[Any] | None, classes: int) -> list[str]:
    found = list(range(classes) if names is None else names)
    if len(found) != classes or any(np.ndim(name) for name in found):
        raise ValueError(
            f"`names` must have shape ({classes},), one name for each class, got {np.shape(found)}; "
            "name every class of `confusion`, in the order of its rows"
        )
    return [str(name) for name in found]


def _values(xp: Namespace, targets: Array, outputs: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 on the host, or raise unless they have one shape."""
    xp.check_array("targets", targets)
    xp.check_array("outputs", outputs)
    true, found = (np.asarray(xp.to_host(x), dtype=np.float64) for x in (targets, outputs))
    if true.shape != found.shape or not true.size:
        raise ValueError(
            f"`targets` and `outputs` must have one equal shape, not empty, got {true.shape} and "
            f"{found.shape}"
        )
    return true, found


def _on_host(xp: Namespace, labels: Array, predicted: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return both as NumPy arrays, or raise unless they are whole numbers of equal shape."""
    xp.check_array("labels", labels)
    xp.check_array("predicted", predicted)
    if labels.ndim != 1 or tuple(labels.shape) != tuple(predicted.shape) or labels.shape[0] == 0:
        raise ValueError(
            "`labels` and `predicted` must have one equal shape (n,) with n above 0, "
            f"got {tuple(labels.shape)} and {tuple(predicted.shape)}"
        )
    true, found = xp.to_host(labels), xp.to_host(predicted)
    for name, x in (("labels", true), ("predicted", found)):
        if x.dtype.kind not in "iu":
            raise TypeError(f"`{name}` must have an integer dtype, got {x.dtype}; pass class indices")
    return true, found
