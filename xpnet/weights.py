"""Weights of examples in a training, and the part of the data that is kept to validate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.checks import nonnegative
from xpnet.datasets import Dataset, split
from xpnet.errors import shortened

BALANCED = "balanced"


def weighted(train: Dataset, sample_weight: Any, class_weight: Any, *, classes: int) -> Dataset:
    """Return a training set with weights: its own ones or `sample_weight`, times those of the classes.

    Parameters
    ----------
    train : Dataset
    sample_weight : array, shape (n,), optional
    class_weight : dict or "balanced", optional
        By class indices or names; a class without a weight has weight 1. "balanced" gives each class that
        occurs the same total weight, and the weights the mean 1, as in scikit-learn.
    classes : int

    Raises
    ------
    ValueError, TypeError
        If the data set already has weights and others are passed, or if weights are wrong.
    """
    if sample_weight is not None:
        if train.sample_weight is not None:
            raise ValueError("`sample_weight` is passed, but `train` has weights; pass one of them")
        train = train.weighted(sample_weight)
    if class_weight is None:
        return train
    if not train.has_labels:
        raise ValueError(
            "`class_weight` is for targets that are class indices or names; pass `sample_weight`"
        )
    weights = _of_classes(train, class_weight, classes)[train.labels]
    if train.sample_weight is not None:
        weights = weights * train.sample_weight
    return train.weighted(weights)


def divided(train: Dataset, validation: Any, *, seed: int) -> tuple[Dataset, Dataset | None]:
    """Return what to train on and what to validate with, which is a data set or a share of the training set.

    Raises
    ------
    TypeError, ValueError
    """
    if validation is None or isinstance(validation, Dataset):
        return train, validation
    if isinstance(validation, bool) or not isinstance(validation, int | float | np.number):
        raise TypeError(
            f"`validation` must be a Dataset or a share of `train`, got {type(validation).__name__}; "
            "pass for example `validation=0.1`"
        )
    return split(train, share=float(validation), seed=seed)


def _of_classes(train: Dataset, class_weight: Any, classes: int) -> np.ndarray:
    """Return the weight of each class."""
    if isinstance(class_weight, str) and class_weight == BALANCED:
        counts = np.bincount(train.labels, minlength=classes)
        return len(train) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"`class_weight` must be a dict or {BALANCED!r}, got {shortened(repr(class_weight), 100)}; "
            "pass for example `{0: 1, 1: 5}`"
        )
    weights = np.ones(classes)
    for key, value in class_weight.items():
        weights[_class(key, train, classes)] = nonnegative(f"class_weight[{key!r}]", value)
    if not weights[np.unique(train.labels)].any():
        raise ValueError("`class_weight` is 0 for every class of `train`, so there is nothing to learn")
    return weights


def _class(key: Any, train: Dataset, classes: int) -> int:
    """Return the class that a key of `class_weight` means."""
    names = train.classes or ()
    if isinstance(key, str) and key in names:
        return names.index(key)
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and 0 <= key < classes:
        return int(key)
    known = ", ".join(map(repr, names)) or f"0 to {classes - 1}"
    raise ValueError(
        f"`class_weight` has {shortened(repr(key), 60)}, which is no class; "
        f"the classes are {shortened(known, 150)}"
    )
