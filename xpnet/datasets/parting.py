"""The rows of the two parts of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from xpnet import checks
from xpnet.random import Stream

SEED = 138


def rows_of_parts(
    n: int, labels: numpy.ndarray | None, *, share: float, seed: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the rows of the larger part in random order, and those of the other in the old order.

    Parameters
    ----------
    n : int
        The number of samples.
    labels : array, shape (n,), int, or None
        Each class has the same share in both parts, rounded. One with two or more samples has at least one in
        each, and one with a single sample has it in the first.
    share : float
        Of the second part, in (0, 1).
    seed : int

    Raises
    ------
    ValueError
        If `share` is out of range, or a part has no sample.
    """
    share = checks.share("share", share)
    order = Stream(seed, "shuffle").permutation(n)
    is_apart = numpy.zeros(n, bool)
    for own in _groups(order, labels):
        wanted = max(1, int(share * len(own) + 0.5))
        is_apart[own[: min(wanted, len(own) - 1)]] = True
    if not is_apart.any():
        what = "there is only one sample" if labels is None else "each class has only one sample"
        raise ValueError(f"{what}, so there is none to test on; add some")
    return order[~is_apart[order]], numpy.flatnonzero(is_apart)


def _groups(order: numpy.ndarray, labels: numpy.ndarray | None) -> list[numpy.ndarray]:
    if labels is None:
        return [order]
    ordered = labels[order]
    return [order[ordered == label] for label in numpy.unique(labels)]


def check_each_class(labels: numpy.ndarray, classes: Sequence[str] | None) -> None:
    """Raise unless each class has a sample for both parts of a stratified split."""
    found, counts = numpy.unique(labels, return_counts=True)
    few = dict.fromkeys(range(len(classes or ())), 0) | dict(
        zip(found.tolist(), counts.tolist(), strict=True)
    )
    for label, n in few.items():
        if n < 2:
            name = label if classes is None else repr(classes[label])
            raise ValueError(
                f"class {name} has {'one sample' if n else 'no sample'}, but a stratified split needs one "
                "for each part; add some, or pass `stratify=False`"
            )


def stratified(value: Any, *, has_labels: bool) -> bool:
    """Return whether to keep the shares of classes: as asked, or if there are any."""
    if value is None:
        return has_labels
    if not isinstance(value, bool | numpy.bool_):
        raise TypeError(f"`stratify` must be True, False or None, got {value!r}")
    if value and not has_labels:
        raise ValueError(
            "`stratify` keeps the share of each class, but the targets are numbers; pass `stratify=False`"
        )
    return bool(value)
