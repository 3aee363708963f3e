"""Checks of the targets of a data set: class indices, names of classes, or rows of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from xpnet.datasets.arrays import as_array, spelled
from xpnet.errors import shortened

Classes = tuple[str, ...]


def checked_targets(
    value: Any, n: int, classes: Classes | None
) -> tuple[numpy.ndarray, Classes | None, bool]:
    """Return targets of `n` samples, the names of the classes, and whether the targets were names.

    They are class indices, shape (n,), or floating-point numbers, shape (n, columns).

    Parameters
    ----------
    value : array_like
        Class indices; names of classes; or numbers, one or several for each sample.
    n : int
    classes : tuple of str or None
        The names of the classes, if the caller knows them; names among the targets must be among these.

    Raises
    ------
    TypeError, ValueError
    """
    targets = as_array("targets", value)
    if targets.ndim == 1 and _are_names(targets):
        return *_indices(targets.tolist(), classes), True
    has_columns = targets.ndim == 2 and len(targets) == n and targets.shape[1] > 1
    if targets.dtype.kind == "f" or (targets.dtype.kind in "iub" and has_columns):
        return _numbers(targets, value, n), classes, False
    labels = _checked_labels(value, targets, n)
    if classes is not None and labels.size and labels.max() >= len(classes):
        raise ValueError(
            f"`classes` has {len(classes)} names, but `targets` has the label {int(labels.max())}; "
            "name every class"
        )
    return labels, classes, False


def checked_classes(value: Any) -> Classes:
    """Return names of classes as a tuple, or raise unless they are different str."""
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"`classes` must be names, got {value!r}; pass for example `classes=['cat', 'dog']`")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"`classes` has the name {twice[0]!r} twice; name each class differently")
    return tuple(map(str, names))


def checked_weights(value: Any, n: int) -> numpy.ndarray:
    """Return the weights of `n` samples as float64, or raise if one is negative or all are 0."""
    weights = as_array("sample_weight", value)
    if weights.dtype.kind not in "iuf":
        raise TypeError(
            f"`sample_weight` must be numbers, got {weights.dtype}; pass one weight for each sample"
        )
    if weights.shape != (n,):
        raise ValueError(
            f"`sample_weight` must have shape ({n},), got {weights.shape}; pass one weight for each sample"
        )
    weights = weights.astype(numpy.float64)
    wrong = ~(numpy.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"`sample_weight` must be finite and not negative, but row {row} holds {float(weights[row])!r}; "
            "leave a sample out with weight 0"
        )
    if not weights.any():
        raise ValueError("`sample_weight` is 0 for every sample, so there is nothing to learn; raise some")
    return weights


def _are_names(targets: numpy.ndarray) -> bool:
    is_text = targets.dtype.kind in "UT"
    return is_text or (
        targets.dtype.kind == "O" and all(isinstance(x, str) for x in targets) and len(targets) > 0
    )


def _indices(names: list[str], classes: Classes | None) -> tuple[numpy.ndarray, Classes]:
    """Return the class of each name, and all classes: those given, else the names, sorted."""
    found = tuple(sorted(set(names))) if classes is None else classes
    places = {name: i for i, name in enumerate(found)}
    unknown = [name for name in names if name not in places]
    if unknown:
        raise ValueError(
            f"`targets` has the name {shortened(repr(unknown[0]), 60)}, which is not among `classes`: "
            f"{shortened(', '.join(map(repr, found)), 120)}; add it, or leave these samples out"
        )
    return numpy.array([places[name] for name in names], dtype=numpy.int64), found


def _numbers(targets: numpy.ndarray, value: Any, n: int) -> numpy.ndarray:
    """Return numbers as rows of float32 or float64."""
    if targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise ValueError(
            f"`targets` that are numbers must have shape (n,) or (n, columns), got {targets.shape}; "
            f"pass one row for each of the {n} samples"
        )
    if targets.dtype.kind == "f" and targets.dtype not in (numpy.float32, numpy.float64):
        raise TypeError(
            f"`targets` must be float32 or float64, got {targets.dtype}; "
            f"pass `{spelled('targets', value)}.astype('float32')`"
        )
    rows = targets.reshape(len(targets), -1)
    finite = numpy.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        wrong = float(rows[row][~numpy.isfinite(rows[row])][0])
        raise ValueError(f"`targets` must be finite, but row {row} holds {wrong!r}; repair or drop the row")
    return rows if rows.dtype.kind == "f" else rows.astype(numpy.float32)


def _checked_labels(value: Any, labels: numpy.ndarray, n: int) -> numpy.ndarray:
    """Return `labels`, which were made of `value`, as class indices of `n` samples."""
    if labels.dtype.kind not in "iu":
        raise TypeError(
            "`targets` must be class indices, names of classes or floating-point numbers, "
            f"got {labels.dtype}; {_advice(value, labels, n)}"
        )
    if labels.ndim != 1:
        raise ValueError(
            f"`targets` that are class indices must have shape (n,), got {labels.shape}; "
            f"{_advice(value, labels, n)}"
        )
    if labels.dtype.kind == "i" and (labels < 0).any():
        row = int((labels < 0).argmax())
        raise ValueError(
            f"`targets` that are class indices must not be negative, but row {row} holds {int(labels[row])}; "
            "number the classes 0, 1, 2, ..., or pass floating-point numbers to predict"
        )
    return labels


def _advice(value: Any, labels: numpy.ndarray, n: int) -> str:
    """Return how to turn `labels` into class indices of `n` samples, as far as that can be told."""
    name = spelled("targets", value)
    if labels.ndim != 1 and labels.size != n:
        return f"pass one class index for each of the {n} samples"
    if labels.ndim != 1:
        name += ".ravel()"
    if labels.dtype.kind in "iuUT":
        return f"pass `{name}`"
    if labels.dtype.kind == "b":
        return f"pass `{name}.astype('int64')`"
    return "number the classes 0, 1, 2, ..."
