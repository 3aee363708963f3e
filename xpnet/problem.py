"""What is trained or measured: a model with its loss, on images and labels that fit it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from xpnet.batches import Batches, Scaling
from xpnet.datasets import Dataset
from xpnet.losses import Loss
from xpnet.models import Sequential
from xpnet.namespace import Namespace

Array = Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """A model with its loss, and how images enter it. Arguments are trusted.

    Attributes
    ----------
    model : Sequential
    loss : Loss
    scaling : Scaling
    dtype : {"float32", "float64"}
        Of the parameters and of all arithmetic.
    """

    model: Sequential
    loss: Loss
    scaling: Scaling
    dtype: str

    def on_device(
        self, xp: Namespace, dataset: Dataset, *, name: str, keep: bool = False
    ) -> tuple[Batches, Array]:
        """Return the images and the labels of a data set on the device; see `Batches` for `keep`."""
        images = Batches(xp, dataset.images, dtype=self.dtype, scaling=self.scaling, name=name, keep=keep)
        return images, labels_on_device(xp, dataset, classes=class_count(self.model), name=name)


def class_count(model: Sequential) -> int:
    """Return the number of classes that the outputs of `model` tell apart."""
    return 2 if model.n_out == 1 else int(model.n_out or 0)


def labels_on_device(xp: Namespace, dataset: Dataset, *, classes: int, name: str) -> Array:
    """Return the labels as an int32 array of `xp`; later changes of the data set have no effect on it.

    Raises
    ------
    ValueError
        If the labels are not in ``[0, classes)``.
    """
    labels = dataset.labels.copy()
    check_labels(name, labels, classes)  # The copy: the arrays may have changed since they were checked.
    return xp.asarray(labels.astype(np.int32))


def check_labels(name: str, labels: np.ndarray, classes: int) -> None:
    """Raise unless the labels of a data set, which the caller knows as `name`, are in ``[0, classes)``."""
    for label in (int(labels.max()), int(labels.min())):
        if not 0 <= label < classes:
            raise ValueError(
                f"`{name}` has the label {label}, but the model tells {classes} classes apart: "
                f"0 to {classes - 1}"
            )


def check_fit(name: str, dataset: Any, model: Sequential) -> None:
    """Raise unless `dataset`, which the caller knows as `name`, has the features and classes of `model`."""
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"`{name}` must be a Dataset, got {type(dataset).__name__}; pass `xpnet.Dataset(images, labels)`"
        )
    if not isinstance(model, Sequential):
        raise TypeError(
            f"`model` must be a Sequential, got {model!r}; pass for example `xpnet.mlp(784, 64, 10)`"
        )
    if model.takes_or_gives_images:
        raise ValueError(
            "images enter and leave a model as rows of features: begin it with "
            "`Unflatten(height, width, channels)`, and let `Flatten` or `GlobalAvgPool2d` and `Linear` follow"
        )
    if model.n_in is None or model.n_out is None:
        raise ValueError(
            "the model has no linear layer, so there is nothing to train or to use; a layer of your own that "
            "changes the number of features needs `n_in` and `n_out`"
        )
    features = dataset.images.shape[1]
    if features != model.n_in:
        single = dataset.images.size == model.n_in
        advice = f"; if this is a single image, pass `images.reshape(1, {model.n_in})`" if single else ""
        raise ValueError(
            f"`{name}` has {features} features an image, but the model takes {model.n_in}{advice}"
        )
    check_labels(name, dataset.labels, class_count(model))
