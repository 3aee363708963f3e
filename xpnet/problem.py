"""What is trained or measured: a model with its loss, on images and labels that fit it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from xpnet.batches import Batches, Scaling
from xpnet.datasets import Dataset
from xpnet.layer import Shape
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
        entering = images_for(self.model, dataset)
        images = Batches(xp, entering, dtype=self.dtype, scaling=self.scaling, name=name, keep=keep)
        classes = class_count(self.model, entering.shape[1:])
        return images, labels_on_device(xp, dataset, classes=classes, name=name)


def images_for(model: Sequential, dataset: Dataset) -> np.ndarray:
    """Return images as they enter the model: rows of features, or images with channels.

    They share the memory of those in the data set, unless these are not stored row by row.
    """
    images = dataset.images
    if images.ndim > 2 and model.n_in is not None:
        return images.reshape(len(images), -1)
    return images[..., None] if images.ndim == 3 else images


def class_count(model: Sequential, shape: Shape | None = None) -> int:
    """Return the number of classes that the outputs of `model` tell apart, given the shape of an input."""
    out = model.output_shape(shape)
    n_out = out[0] if out is not None and len(out) == 1 else None
    return 2 if n_out == 1 else int(n_out or 0)


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
    if model.n_in is None and not model.takes_images:
        raise ValueError(
            "the model has no linear layer, so there is nothing to train or to use; a layer of your own that "
            "changes the number of features needs `n_in` and `n_out`"
        )
    if model.n_in is None:
        _check_images(name, dataset.images, model)
    else:
        _check_features(name, dataset.images, model.n_in)
    shape = images_for(model, dataset).shape[1:]
    out = model.output_shape(shape)
    if out is None or len(out) != 1 or out[0] is None:
        raise ValueError(
            f"the model gives {_shown(out)} of {shape}, but a loss takes rows of features: let `Flatten` or "
            "`GlobalAvgPool2d` and `Linear` follow"
        )
    classes = class_count(model, shape)
    check_labels(name, dataset.labels, classes)
    if dataset.classes is not None and len(dataset.classes) != classes:
        raise ValueError(
            f"`{name}` names {len(dataset.classes)} classes, but the model tells {classes} apart; "
            "give the model as many outputs"
        )


def check_classes(name: str, found: tuple[str, ...] | None, expected: tuple[str, ...] | None) -> None:
    """Raise unless the classes of a data set have the names that the model knows, if both are known."""
    if found is None or expected is None or found == expected:
        return
    differences = [
        f"class {i} is {theirs!r} there and {own!r} in the model"
        for i, (theirs, own) in enumerate(itertools.zip_longest(found, expected))
        if theirs != own
    ]
    more = f", and {len(differences) - 1} more differ" if len(differences) > 1 else ""
    raise ValueError(
        f"`{name}` has other classes than the model: {differences[0]}{more}; pass data with the classes "
        f"{', '.join(map(repr, expected[:8]))}{', ...' if len(expected) > 8 else ''}"
    )


def _check_features(name: str, images: np.ndarray, n_in: int) -> None:
    features = math.prod(images.shape[1:])
    if features == n_in:
        return
    single = images.size == n_in
    advice = f"; if this is a single image, pass `images.reshape(1, {n_in})`" if single else ""
    shape = f", of shape {images.shape[1:]}" if images.ndim > 2 and not single else ""
    raise ValueError(f"`{name}` has {features} features an image{shape}, but the model takes {n_in}{advice}")


def _check_images(name: str, images: np.ndarray, model: Sequential) -> None:
    """Raise unless images have the shape that a model of images takes."""
    # A single image, if that is what was passed: with its channels, or without.
    single = images.shape if images.ndim == 3 else (*images.shape, 1)
    advice = ""
    if images.ndim < 4 and not _refusal(model, single):
        advice = f"; if this is a single image, pass `images.reshape{(1, *single)}`"
    if images.ndim == 2:
        raise ValueError(
            f"`{name}` has rows of {images.shape[1]} features, but the model takes images: pass them with "
            "the shape (n, height, width, channels), or begin the model with "
            f"`Unflatten(height, width, channels)`{advice}"
        )
    refusal = _refusal(model, (*images.shape[1:], 1)[:3])
    if refusal:
        raise ValueError(
            f"`{name}` has the shape {images.shape}, which the model does not take: {refusal}{advice}"
        )


def _refusal(model: Sequential, shape: Shape) -> str:
    """Return why a model does not take an image of this shape; empty if it does."""
    try:
        model.output_shape(shape)
    except ValueError as e:
        return str(e)
    return ""


def _shown(shape: Shape | None) -> str:
    return "features of an unknown number" if shape is None or None in shape else f"images {shape}"
