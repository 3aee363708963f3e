"""What is trained or measured: a model with its loss, on inputs and targets that fit it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from xpnet.batches import Batches, Scaling
from xpnet.datasets import Dataset
from xpnet.errors import fitted
from xpnet.layer import Shape
from xpnet.loss import CLASSES, Loss
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.targets import Targets

_NEAR_ONE = 1e-3  # how far the sum of probabilities, perhaps rounded to a few digits, may be from 1


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
    task : {"classes", "labels", "values"}
        What the model predicts, see `Loss.task`.
    """

    model: Sequential
    loss: Loss
    scaling: Scaling
    dtype: str
    task: str = CLASSES

    def on_device(
        self, xp: Namespace, dataset: Dataset, *, name: str, keep: bool = False
    ) -> tuple[Batches, Targets]:
        """Return the inputs and the targets of a data set on the device; see `Batches` for `keep`."""
        entering = images_for(self.model, dataset)
        images = Batches(xp, entering, dtype=self.dtype, scaling=self.scaling, name=name, keep=keep)
        targets = dataset.targets.copy()
        # The copy: the arrays may have changed since they were checked.
        check_targets(name, targets, self.model, self.loss, entering.shape[1:])
        return images, Targets(xp, targets, dataset.sample_weight, task=self.task, dtype=self.dtype)


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
    n_out = out_count(model, shape)
    return 2 if n_out == 1 else n_out


def out_count(model: Sequential, shape: Shape | None = None) -> int:
    """Return the number of outputs of `model`, given the shape of an input; 0 if it is not known."""
    out = model.output_shape(shape)
    return int(out[0] or 0) if out is not None and len(out) == 1 else 0


def check_labels(name: str, labels: np.ndarray, classes: int) -> None:
    """Raise unless the labels of a data set, which the caller knows as `name`, are in ``[0, classes)``."""
    for label in (int(labels.max()), int(labels.min())):
        if not 0 <= label < classes:
            raise ValueError(
                f"`{name}` has the label {label}, but the model tells {classes} classes apart: "
                f"0 to {classes - 1}"
            )


def check_targets(name: str, targets: np.ndarray, model: Sequential, loss: Loss, shape: Shape) -> None:
    """Raise unless the targets of a data set fit the outputs of the model, given the shape of an input."""
    if targets.ndim == 1:
        check_labels(name, targets, class_count(model, shape))
        return
    columns, n_out = targets.shape[1], out_count(model, shape)
    if columns != n_out:
        advice = (
            "; if they are class indices, pass them as int"
            if columns == 1
            else "; give the model as many outputs"
        )
        raise ValueError(
            f"`{name}` has {columns} floating-point target{'s' * (columns > 1)} a row, but the model has "
            f"{n_out} output{'s' * (n_out != 1)}{advice}"
        )
    if loss.interval is None:
        return
    least, most = loss.interval
    wrong = ~((targets >= least) & (targets <= most))
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        raise ValueError(
            f"`{name}` has the target {float(targets[row][wrong[row]][0])!r} in row {row}, but {loss.name} "
            f"takes {least:g} to {most:g}; to predict values, pass `loss='squared_error'`"
        )
    sums = targets.sum(axis=1)
    if loss.numbers_are == CLASSES and not np.abs(sums - 1).max() <= _NEAR_ONE:
        row = int(np.abs(sums - 1).argmax())
        raise ValueError(
            f"`{name}` has targets that add up to {float(sums[row]):g} in row {row}, but {loss.name} takes "
            "the probabilities of classes, which add up to 1; for several labels of a sample, pass "
            "`loss='sigmoid_cross_entropy'`"
        )


def check_fit(name: str, dataset: Any, model: Sequential, loss: Loss | None = None) -> None:
    """Raise unless `dataset`, which the caller knows as `name`, has inputs and targets of the model.

    Without a loss, the targets are not looked at.
    """
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
    if loss is None:
        return
    check_targets(name, dataset.targets, model, loss, shape)
    classes = class_count(model, shape)
    if dataset.classes is not None and len(dataset.classes) != classes:
        raise ValueError(
            f"`{name}` names {len(dataset.classes)} classes, but the model tells {classes} apart; "
            "give the model as many outputs"
        )
    if dataset.sample_weight is not None and not loss.takes_weights:
        raise TypeError(
            f"`{name}` has weights, but the loss {loss.name!r} takes none; "
            "give its function a parameter `weights`"
        )


def aligned(name: str, dataset: Dataset, classes: tuple[str, ...] | None) -> Dataset:
    """Return a data set whose class indices are those of the model, which knows the classes by these names.

    Raises
    ------
    ValueError
        If the data set has a class that the model does not know.
    """
    found = dataset.classes
    if found is None or found == classes or not dataset.has_labels:
        return dataset
    if classes is None:
        if not dataset.had_names:
            return dataset
        raise ValueError(
            f"`{name}` has names of classes, but the model was trained on numbers of classes; pass these"
        )
    places = {known: i for i, known in enumerate(classes)}
    unknown = [found[i] for i in np.unique(dataset.labels) if found[i] not in places]
    if unknown:
        template = (
            f"`{name}` has the class {{first}}{{more}}, which the model does not know: it knows {{classes}}; "
            "leave out such samples, or train on them"
        )
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ValueError(
            fitted(template, classes=", ".join(map(repr, classes)), first=repr(unknown[0]), more=more)
        )
    indices = np.array([places.get(known, 0) for known in found])
    return dataclasses.replace(dataset, targets=indices[dataset.labels], classes=classes)


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
