"""Predictions of a trained model, and how good they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from xpnet import metrics
from xpnet.batches import Batches, Scaling
from xpnet.checks import choice, count
from xpnet.datasets import Dataset
from xpnet.datasets.dataset import without_targets
from xpnet.layer import Params
from xpnet.loss import CLASSES, LABELS, VALUES, Loss
from xpnet.losses import KINDS, find_loss
from xpnet.measure import BATCH_SIZE, Measure
from xpnet.memory import watched
from xpnet.models import Sequential, check_params, copy_params
from xpnet.namespace import Namespace, check_namespace
from xpnet.problem import Problem, check_fit, class_count, images_for

Array = Any

# exp() of a number far below the largest output underflows to 0, as it should: NumPy need not raise or warn.
# An overflow shows in the loss, or in an error that says more than NumPy's warning.
SILENT = np.errstate(over="ignore", invalid="ignore", under="ignore")


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a model did on a data set; compared by value.

    Attributes
    ----------
    loss : float
        The mean over the data set.
    accuracy : float or None
        The share of correct predictions, in [0, 1]; of several labels, the share of all of them.
        None of values.
    confusion : NumPy array, shape (classes, classes), int64, or None
        Rows are true classes, columns predicted ones. None of labels and values.
    classes : tuple of str or None
        The names of the classes, if they are known.
    metrics : dict of str to float
        More figures: "f1" of classes (macro) and of labels (micro); "mae" and "r2" of values.
    """

    loss: float
    accuracy: Any
    confusion: Any
    classes: tuple[str, ...] | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        mine, theirs = ((e.loss, e.accuracy, e.metrics) for e in (self, other))
        if self.confusion is None or other.confusion is None:
            return mine == theirs and self.confusion is other.confusion
        return mine == theirs and np.array_equal(self.confusion, other.confusion)

    def __hash__(self) -> int:
        return hash((self.loss, self.accuracy))

    def report(self) -> str:
        """Return precision, recall and F1 of each class that occurs, as scikit-learn prints them.

        Of labels and values, the metrics, one a line.
        """
        if self.confusion is not None:
            return metrics.classification_report(self.confusion, self.classes)
        return "".join(f"{name:<4} {value:.4f}\n" for name, value in self.metrics.items())


@SILENT
def evaluate(
    xp: Namespace,
    model: Sequential,
    params: Params,
    dataset: Dataset,
    *,
    loss: str | Loss | Callable[..., Any] = "softmax_cross_entropy",
    scale: float = 1 / 255,
    offset: float = 0.0,
    batch_size: int = BATCH_SIZE,
) -> Evaluation:
    """Return the loss, the accuracy and the confusion matrix of a model on a data set.

    Parameters
    ----------
    xp : Namespace
    model : Sequential
    params : dict of arrays of `xp`
    dataset : Dataset
    loss : str, Loss or callable
        As of `xpnet.fit`.
    scale, offset : float
        uint8 pixels enter the model as ``pixel * scale + offset``.
    batch_size : int
        Does not change the result beyond rounding.

    Raises
    ------
    ValueError
        If the data set does not fit the model.
    """
    criterion = find_loss(loss)
    check_namespace(xp)
    check_fit("dataset", dataset, model, criterion)
    batch_size = count("batch_size", batch_size)
    dtype = check_params(xp, model, params)
    params = copy_params(xp, params)  # row by row, which kernels are fast with
    task = criterion.task(dataset.targets)
    problem = Problem(model, criterion, Scaling(scale, offset), dtype, task)
    image = images_for(model, dataset).shape[1:]
    with watched(xp, model, dtype=dtype, batch_size=batch_size, image=image):
        measure = Measure(xp, problem, dataset, batch_size=batch_size, once=True)
        total, predicted = measure(params)
        loss_value = float(xp.to_host(total)) / measure.targets.total_weight
        truth = measure.targets.truth
        measure.close()
        figures = _figures(xp, task, truth, predicted, class_count(model, image))
        return Evaluation(loss=loss_value, classes=dataset.classes, **figures)


def _figures(xp: Namespace, task: str, truth: Array, predicted: Array, classes: int) -> dict[str, Any]:
    """Return accuracy, confusion matrix and metrics of predictions."""
    if task == VALUES:
        found = {
            "mae": metrics.mean_absolute_error(xp, truth, predicted),
            "r2": metrics.r2(xp, truth, predicted),
        }
        return {"accuracy": None, "confusion": None, "metrics": found}
    true, guessed = (xp.reshape(x, (-1,)) for x in (truth, predicted))
    accuracy = metrics.accuracy(xp, true, guessed)
    if task == LABELS:
        found = {"f1": metrics.f1(xp, true, guessed, 2, average="binary")}
        return {"accuracy": accuracy, "confusion": None, "metrics": found}
    confusion = metrics.confusion_matrix(xp, true, guessed, classes)
    found = {"f1": metrics.f1(xp, true, guessed, classes)}
    return {"accuracy": accuracy, "confusion": confusion, "metrics": found}


@SILENT
def predict(
    xp: Namespace,
    model: Sequential,
    params: Params,
    images: Any,
    *,
    loss: str | Loss | Callable[..., Any] = "softmax_cross_entropy",
    scale: float = 1 / 255,
    offset: float = 0.0,
    task: str = CLASSES,
) -> np.ndarray:
    """Return what a model predicts for each image, as `evaluate` counts it.

    The class is that of the largest output; with one output, class 1 if it is more probable than not. If two
    outputs differ only by rounding, the choice between them may depend on the size of the batches.

    Parameters
    ----------
    images : array_like, shapes as of `Dataset`, uint8 or float, or Dataset
        On the host. For the other parameters see `evaluate`.
    task : {"classes", "labels", "values"}
        What is predicted, see `xpnet.loss.Loss.task`.

    Returns
    -------
    predictions : NumPy array
        Classes, shape (n,), int64; or 0 and 1 for each label, shape (n, n_out), int64; or values, shape
        (n, n_out), of the dtype of the parameters.
    """
    criterion = find_loss(loss)
    outputs = _forward(xp, model, params, images, Scaling(scale, offset), criterion)
    # On the host, because some devices lack the int64 that argmax returns.
    found = criterion.predict(np, _together(xp, outputs), choice((CLASSES, LABELS, VALUES))("task", task))
    return found if task == VALUES else found.astype(np.int64)


@SILENT
def predict_proba(
    xp: Namespace,
    model: Sequential,
    params: Params,
    images: Any,
    *,
    loss: str | Loss | Callable[..., Any] = "softmax_cross_entropy",
    scale: float = 1 / 255,
    offset: float = 0.0,
) -> np.ndarray:
    """Return the probability of each class for each image.

    Parameters
    ----------
    images : array_like, shapes as of `Dataset`, uint8 or float, or Dataset
        On the host. For the other parameters see `evaluate`.

    Returns
    -------
    probabilities : NumPy array, shape (n, classes)
        A model with one output has two classes. Rows sum to 1, except for several outputs with
        "sigmoid_cross_entropy": each is then the probability of its class against all others.

    Raises
    ------
    ValueError
        If the outputs are not probabilities: with "squared_error", unless the last layer makes them so.
    """
    criterion = find_loss(loss)
    outputs = _forward(xp, model, params, images, Scaling(scale, offset), criterion)
    if not criterion.gives_probabilities(model):
        raise ValueError(
            f"the outputs of a model trained with {criterion.name!r} are not probabilities; call `predict` "
            "for the classes, or `predict_outputs` for the outputs as they are"
        )
    p = _together(xp, (criterion.probabilities(xp, z) for z in outputs))
    return np.concatenate([1 - p, p], axis=1) if p.shape[1] == 1 else p


@SILENT
def predict_outputs(
    xp: Namespace,
    model: Sequential,
    params: Params,
    images: Any,
    *,
    scale: float = 1 / 255,
    offset: float = 0.0,
) -> np.ndarray:
    """Return the outputs of the last layer for each image, whatever the loss was.

    Parameters
    ----------
    images : array_like, shapes as of `Dataset`, uint8 or float, or Dataset
        On the host. For the other parameters see `evaluate`.

    Returns
    -------
    outputs : NumPy array, shape (n, n_out)
    """
    dataset, params, dtype = _checked(xp, model, params, images)
    batches = Batches(xp, images_for(model, dataset), dtype=dtype, scaling=Scaling(scale, offset))
    return _together(xp, (model(xp, params, x)[0] for x in batches.in_order(BATCH_SIZE)))


def _forward(
    xp: Namespace, model: Sequential, params: Params, images: Any, scaling: Scaling, criterion: Loss
) -> Iterator[Array]:
    """Return the outputs batch by batch, computed as `evaluate` computes them."""
    dataset, params, dtype = _checked(xp, model, params, images)
    problem = Problem(model, criterion, scaling, dtype)
    # With the loss, though it is not needed, so that the outputs are those of `evaluate` to the last bit. One
    # of a user's may not take the targets that stand in for those that are missing.
    measure = Measure(
        xp, problem, dataset, name="images", once=True, scored=type(criterion) in KINDS.values()
    )
    return (outputs for outputs, _ in measure.outputs(params))


def _checked(xp: Namespace, model: Sequential, params: Params, images: Any) -> tuple[Dataset, Params, str]:
    """Return images as a data set without targets, copies of the parameters (row by row), and their dtype."""
    check_namespace(xp)
    dataset = without_targets(images)
    check_fit("images", dataset, model)
    dtype = check_params(xp, model, params)
    return dataset, copy_params(xp, params), dtype


def _together(xp: Namespace, outputs: Iterable[Array]) -> np.ndarray:
    """Return the outputs of all batches on the host, or raise a ValueError if one is not finite."""
    # Copied, because the next batch may be computed in the same memory.
    found = np.concatenate([np.array(xp.to_host(z)) for z in outputs])
    _check_outputs(found)
    return found


def _check_outputs(outputs: np.ndarray) -> None:
    """Raise unless the outputs of a model, a row for each image, are finite."""
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the model's outputs for row {int(finite.argmin())} are not finite; its parameters or the "
            f"features are too large for {outputs.dtype}: train with smaller ones or with `dtype='float64'`"
        )
