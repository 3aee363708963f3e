"""The result of `fit`: a trained model with its parameters and history."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import checkpoint, reprs
from xpnet.activations import activations
from xpnet.batches import Scaling
from xpnet.checks import choice, count, finite, set_fields
from xpnet.checks import shape as checks_shape
from xpnet.datasets import Dataset, Encoding
from xpnet.datasets.dataset import without_targets
from xpnet.datasets.targets import checked_classes
from xpnet.descriptions import UnknownPartError, build, describe
from xpnet.discovery import backend
from xpnet.errors import fitted
from xpnet.evaluation import Evaluation, evaluate, predict, predict_outputs, predict_proba
from xpnet.inputs import Inputs
from xpnet.layer import Params
from xpnet.loss import CLASSES, LABELS, VALUES, Loss
from xpnet.losses import described_loss, find_loss, loss_about, short_name
from xpnet.models import Sequential
from xpnet.namespace import Namespace, check_namespace
from xpnet.problem import Problem, aligned
from xpnet.registry import is_registered
from xpnet.sealed import damaged


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One entry of the history.

    Attributes
    ----------
    epoch : int
        The first is 1.
    train_loss : float
        The mean over the epoch's samples (by weight), each with the parameters before its step.
    test_loss, test_accuracy, validation_loss, validation_accuracy : float or None
        On those sets after the epoch; None without them. The accuracy is in [0, 1]; None of values.
    seconds : float
        Wall-clock time of training, until the device has finished; without testing.
    lr : float or None
        The learning rate of the last step.
    """

    epoch: int
    train_loss: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    lr: float | None = None

    def about(self) -> dict[str, Any]:
        """Return the attributes for a file; without the last three if they are None."""
        found = dataclasses.asdict(self)
        late = "validation_loss", "validation_accuracy", "lr"
        return {name: value for name, value in found.items() if value is not None or name not in late}


@dataclasses.dataclass(eq=False)
class Run:
    """A model with its parameters on a backend.

    A run can be copied and pickled. It equals only itself, because its parameters may change.

    Attributes
    ----------
    xp : Namespace
    model : Sequential
    params : dict of arrays of `xp`
    loss : str or Loss
        The name of a loss of `xpnet` with its usual options; any other loss itself.
    scaling : Scaling
        How pixels enter the model.
    initial_sha256 : str
        Of the initial parameters' bytes; the same on every backend.
    history : list of Epoch
    warm_up_seconds : float
        Time for compiling and warming up before the first epoch.
    inputs : Inputs or None
        How the training images were stored, scaled and named; None if unknown. The methods refuse images that
        seem to be scaled differently; `xpnet.evaluate` and `xpnet.predict` take any.
    report : str
        Why training or testing ran without a compiled step; empty if it had one, or if the backend does not
        compile steps.
    classes : tuple of str or None
        The names of the classes, if the training set had them.
    task : {"classes", "labels", "values"}
        What the model predicts, see `xpnet.loss.Loss.task`.
    predicts_names : bool
        Whether `predict` returns names of classes, because the targets were such names.
    optimizer : Optimizer or None
        A callback may set it, or only its `lr`: training uses it from the next step on. None if the run was
        loaded.
    resumed : str
        The epoch and the file from which training continued; empty if it began anew.
    encoding : Encoding or None
        How the training set was made of a table, if it was; ``run.encoding.read(path)`` reads others like it.
    ranks : list of dict or None
        What each process of a group was and how long its epochs took, see `xpnet.distributed.times`; None
        without a group. A file has nothing of it.
    """

    xp: Namespace
    model: Sequential
    params: Params
    loss: str | Loss
    scaling: Scaling
    initial_sha256: str
    history: list[Epoch] = dataclasses.field(default_factory=list)
    warm_up_seconds: float = 0.0
    inputs: Inputs | None = None
    report: str = ""
    classes: tuple[str, ...] | None = None
    task: str = CLASSES
    predicts_names: bool = False
    optimizer: Any = None
    resumed: str = ""
    encoding: Encoding | None = None
    ranks: list[dict[str, Any]] | None = None

    @property
    def lr(self) -> Any:
        """The learning rate of the optimizer, a number or a schedule; a callback may set it."""
        return self._trained_by().lr

    @lr.setter
    def lr(self, value: Any) -> None:
        optimizer = self._trained_by()
        if isinstance(optimizer, type) or not dataclasses.is_dataclass(optimizer):
            raise TypeError(
                f"{optimizer!r} is no dataclass with a field `lr`; set `run.optimizer` to another optimizer"
            )
        self.optimizer = dataclasses.replace(optimizer, lr=value)  # type: ignore[type-var]

    def _trained_by(self) -> Any:
        if self.optimizer is None:
            raise ValueError("the run has no optimizer, because `fit` did not return it; set `run.optimizer`")
        return self.optimizer

    __repr__ = reprs.of_run

    def evaluate(self, dataset: Dataset) -> Evaluation:
        """Return the loss, the accuracy and other figures on a data set.

        Class indices are those of the model: if the data set has names of classes, these count.

        Raises
        ------
        ValueError
            If the data set does not fit the model, or has a class that the model does not know.
        """
        self._check("dataset", dataset)
        if isinstance(dataset, Dataset):
            dataset = aligned("dataset", dataset, self.classes)
        found = evaluate(self.xp, self.model, self.params, dataset, **self._how())
        return dataclasses.replace(found, classes=self.classes or found.classes)

    def predict(self, images: Any) -> np.ndarray:
        """Return what is predicted for each image, see `xpnet.predict`.

        Classes are returned as the training set had them: their indices, shape (n,), int64; or their names.

        `images` is an array as a `Dataset` takes it, or a Dataset.
        """
        found = predict(
            self.xp, self.model, self.params, self._checked(images), task=self.task, **self._how()
        )
        return np.array(self.classes)[found] if self.predicts_names and self.classes else found

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return the probability of each class for each image, shape (n, classes).

        `images` is an array as a `Dataset` takes it, or a Dataset.

        Raises
        ------
        ValueError
            If the outputs are not probabilities: see `xpnet.predict_proba`.
        """
        return predict_proba(self.xp, self.model, self.params, self._checked(images), **self._how())

    def predict_outputs(self, images: Any) -> np.ndarray:
        """Return what the last layer gives for each image, shape (n, n_out).

        `images` is an array as a `Dataset` takes it, or a Dataset.
        """
        scale, offset = self.scaling.scale, self.scaling.offset
        images = self._checked(images)
        return predict_outputs(self.xp, self.model, self.params, images, scale=scale, offset=offset)

    def activations(self, images: Any) -> dict[str, np.ndarray]:
        """Return the output of each layer for each image, by the layer's number: see `xpnet.activations`.

        `images` is an array as a `Dataset` takes it, or a Dataset.
        """
        scale, offset = self.scaling.scale, self.scaling.offset
        images = self._checked(images)
        return activations(self.xp, self.model, self.params, images, scale=scale, offset=offset)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write model, parameters and history to a safetensors file, whole or not at all.

        Of a layer of your own class, the file has the name, the fields and the parameters if the class is
        registered, see `xpnet.register`; else pass the model to `load`.

        Files of equal runs have equal bytes, except for the seconds of the history and `about_sha256` in the
        metadata. `sha256` in the metadata covers model, parameters and history without the seconds, so it is
        the same.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError
            If a field of a registered layer cannot be written as JSON.
        """
        checkpoint.save(path, self.xp, self.model, self.params, self.about())

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        opset: int = 17,
        dtype: str | None = None,
        input_dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Write the model to an ONNX file, whole or not at all, for onnxruntime and other programs.

        It takes what the training data were, and gives `label`, `probabilities` and `outputs`: see
        `xpnet.onnx`, also for layers of your own. Files of equal runs have equal bytes.

        Parameters
        ----------
        path : path
        opset, dtype, input_dtype, shape
            As of `xpnet.onnx.to_model`.

        Raises
        ------
        ImportError
            If the package onnx is not installed.
        OSError
            If the file cannot be written.
        ValueError
            If a layer has no form in ONNX, or if an option does not fit the run.
        """
        from xpnet import onnx  # late, because it imports this module

        onnx.export(self, path, opset=opset, dtype=dtype, input_dtype=input_dtype, shape=shape)

    def about(self) -> dict[str, Any]:
        """Return what a file says about the run besides the model, as JSON."""
        about: dict[str, Any] = {
            "loss": _loss_about(self.loss),
            "scaling": dataclasses.asdict(self.scaling),
            "initial_sha256": self.initial_sha256,
            "history": [epoch.about() for epoch in self.history],
            "inputs": None if self.inputs is None else self.inputs.about(),
        }
        if self.classes is not None:
            about["classes"] = list(self.classes)
        if self.task != CLASSES:
            about["task"] = self.task
        if self.predicts_names:
            about["predicts_names"] = True
        if self.encoding is not None:
            about["encoding"] = self.encoding.about()
        return about

    def plot(self, *, save: str | os.PathLike[str] | None = None) -> Any:
        """Return a Matplotlib figure of the history: see `xpnet.plots.plot_history`."""
        from xpnet import plots  # late, because it imports this module

        return plots.plot_history(self, save=save)

    def _check(self, name: str, dataset: Any) -> None:
        """Raise if images have other columns than those of training, or seem to be scaled differently."""
        if self.encoding is not None and isinstance(dataset, Dataset):
            self.encoding.check(name, dataset.encoding)
        if self.inputs is not None and isinstance(dataset, Dataset):
            self.inputs.check(name, Inputs.of(dataset, self.scaling))

    def _checked(self, images: Any) -> Dataset:
        """Return images as a data set, or raise if they seem to be scaled differently from training's."""
        dataset = without_targets(images)
        self._check("images", dataset)
        return dataset

    def _how(self) -> dict[str, Any]:
        return {"loss": self.loss, "scale": self.scaling.scale, "offset": self.scaling.offset}


def _inputs(found: dict[str, Any] | None) -> Inputs | None:
    """Return what a file says about the training images; the first files say nothing."""
    if found is None:
        return None
    inputs = Inputs(**found)
    set_fields(inputs, dtype=choice(("uint8", "float32", "float64")), low=finite, high=finite, count=count)
    if inputs.size is not None:
        set_fields(inputs, size=finite)
    if inputs.name is not None:
        _text("name", inputs.name)
    if inputs.shape is not None:
        set_fields(inputs, shape=lambda _, value: checks_shape(value))
    if not isinstance(inputs.has_channels, bool):
        raise TypeError(f"`has_channels` must be true or false, got {inputs.has_channels!r}")
    return inputs


def _classes(found: Any) -> tuple[str, ...] | None:
    return None if found is None else checked_classes(found)


def _epoch(*, epoch: Any, train_loss: Any, seconds: Any, **others: Any) -> Epoch:
    """Return an entry of a saved history, in which null stands for a number that was not finite."""
    return Epoch(
        epoch=count("epoch", epoch),
        train_loss=math.nan if train_loss is None else finite("train_loss", train_loss),
        seconds=finite("seconds", seconds),
        **{name: None if value is None else finite(name, value) for name, value in others.items()},
    )


def _loss_about(loss: Any) -> Any:
    """Return a loss for a file; one of a class that is registered like any other part."""
    own = getattr(getattr(loss, "of", None), "__self__", loss)  # whose function an `OwnLoss` calls
    return describe(own) if is_registered(type(own)) else loss_about(loss)


def _loss(found: Any) -> str | Loss:
    """Return the loss that a file describes."""
    if isinstance(found, dict) and not found.keys().isdisjoint(("registered", "own")):
        return find_loss(build(found))
    return described_loss(found)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be text, got {value!r}")
    return value


def new_run(xp: Namespace, problem: Problem, train: Dataset, optimizer: Any) -> Run:
    """Return the run of a training that has not begun; its parameters are missing."""
    return Run(
        xp,
        problem.model,
        {},
        short_name(problem.loss),
        problem.scaling,
        initial_sha256="",
        inputs=Inputs.of(train, problem.scaling),
        classes=train.classes,
        task=problem.task,
        predicts_names=train.had_names,
        optimizer=optimizer,
        encoding=train.encoding,
    )


@contextlib.contextmanager
def in_reach(run: Run) -> Iterator[None]:
    """Return a context in which exceptions get the attribute `run`, once the run has parameters."""
    try:
        yield
    except BaseException as e:
        if run.params:
            with contextlib.suppress(AttributeError):  # An exception may not accept attributes.
                e.run = run  # type: ignore[attr-defined]
        raise


def load(
    path: str | os.PathLike[str], xp: Namespace | None = None, *, model: Sequential | None = None
) -> Run:
    """Return the run that was saved to `path`, its parameters on the backend `xp`.

    Parameters
    ----------
    path : str or path
    xp : Namespace, optional
        If omitted, ``xpnet.backend()``.
    model : Sequential, optional
        The model that was saved. If omitted, the model is built from the file, which holds no code: register
        classes of your own before, see `xpnet.register`.

    Raises
    ------
    OSError
        If the file cannot be read, or is a folder, a pipe or a device.
    ValueError
        If it is damaged or was not written by `Run.save`, if it needs `model`, or if `model` is another one.
    """
    xp = backend() if xp is None else xp
    check_namespace(xp)
    model, params, about = checkpoint.load(path, xp, model)
    try:
        return Run(
            xp,
            model,
            params,
            loss=_loss(about["loss"]),
            scaling=Scaling(**about["scaling"]),
            initial_sha256=_text("initial_sha256", about["initial_sha256"]),
            history=[_epoch(**epoch) for epoch in about["history"]],
            inputs=_inputs(about.get("inputs")),
            classes=_classes(about.get("classes")),
            task=choice((CLASSES, LABELS, VALUES))("task", about.get("task", CLASSES)),
            predicts_names=about.get("predicts_names") is True,
            encoding=None if about.get("encoding") is None else Encoding(**about["encoding"]),
        )
    except UnknownPartError as e:
        template = "{path} has a loss {name}, {cause}; {what}"
        what = e.remedy or "register its class with `xpnet.register`, and save the run again"
        quotes = {"name": repr(e.name), "path": repr(os.fsdecode(path)), "what": what, "cause": e.cause}
        raise ValueError(fitted(template, **quotes)) from e
    except (KeyError, TypeError, ValueError) as e:
        raise damaged(path, f"what it says about itself cannot be used: {e!r}") from e
