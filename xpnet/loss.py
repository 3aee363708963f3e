"""What a loss is: plain data that training minimises, given a model's outputs and the targets.

``loss.function(xp, outputs, targets)`` returns the mean loss of a batch, shape (), and its gradient at the
outputs. Targets are as in the data set: class indices, shape (batch,), or numbers, shape (batch, n_out).
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from xpnet.layer import Layer
from xpnet.layers import Activation, Sigmoid, Softmax
from xpnet.models import Sequential
from xpnet.namespace import Namespace

Array = Any

CLASSES, LABELS, VALUES = "classes", "labels", "values"
"""What a model predicts: one of several classes, each of several labels, or values."""


class Loss:
    """Base of the losses, and of a loss of your own: a frozen dataclass with a `name` and a `function`.

    Attributes
    ----------
    name : str
    unit : str
        Of the mean loss.
    threshold : float
        A single output above it predicts class 1, any other class 0.
    absorbs : type or None
        The final activation that the loss includes, so that training leaves it out: the combined gradient
        neither overflows nor vanishes.
    least_outputs : int
        With fewer outputs the loss is constant.
    is_likelihood : bool
        Whether minimising the loss makes outputs probabilities; otherwise they only approach the targets.
    interval : tuple of float or None
        Numbers that are targets must be in it.
    numbers_are : {"classes", "labels", "values"}
        What targets that are numbers mean: the probability of each class, whether each of several labels
        applies, or values to predict.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "mean loss"
    threshold: ClassVar[float] = 0.0
    absorbs: ClassVar[type[Activation] | None] = None
    least_outputs: ClassVar[int] = 1
    is_likelihood: ClassVar[bool] = True
    interval: ClassVar[tuple[float, float] | None] = None
    numbers_are: ClassVar[str] = VALUES

    def function(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the mean loss of a batch, shape (), and its gradient at the outputs.

        Parameters
        ----------
        xp : Namespace
        outputs : array, shape (batch, n_out)
        targets : array, shape (batch,), int, or (batch, n_out), float
        weights : array, shape (batch,), optional
            Of the examples, if they have any; the mean is then one by weight.
        """
        raise NotImplementedError

    @property
    def takes_weights(self) -> bool:
        """Whether `function` takes the weights of examples."""
        return "weights" in inspect.signature(self.function).parameters

    def value(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Return what `function` returns, which need not take weights if there are none."""
        if weights is None:
            return self.function(xp, outputs, targets)
        return self.function(xp, outputs, targets, weights)

    def trunk(self, model: Sequential) -> Sequential:
        """Return `model` without the final activation that the loss absorbs, however deep it is nested.

        Subclasses that compute something else are left alone.

        Raises
        ------
        ValueError
            If the model has too few outputs for the loss.
        """
        if model.n_out is not None and model.n_out < self.least_outputs:
            raise ValueError(
                f"loss {self.name!r} needs at least {self.least_outputs} outputs, but the model has "
                f"{model.n_out}; choose 'sigmoid_cross_entropy' or give the model more outputs"
            )
        kept = model if self.absorbs is None else _without_final(self.absorbs, model)
        return kept if isinstance(kept, Sequential) else model

    def task(self, targets: Array) -> str:
        """Return what a model with such targets predicts: "classes", "labels" or "values"."""
        if targets.ndim == 1:
            return CLASSES
        # One label that applies or not is one of two classes.
        return CLASSES if self.numbers_are == LABELS and targets.shape[1] == 1 else self.numbers_are

    def predict(self, xp: Any, outputs: Array, task: str = CLASSES) -> Array:
        """Return what is predicted for each row.

        - Of classes: that of the largest output, shape (batch,), int32. Ties go to the first. Probabilities
          have the same order, but several may round to one number.
        - Of labels: 1 for each output that is above the threshold, else 0, shape (batch, n_out), int32.
        - Of values: the outputs.
        """
        if task == VALUES:
            return outputs
        if task == LABELS:
            return xp.astype(outputs > self.threshold, xp.int32)
        if outputs.shape[1] == 1:
            return xp.astype(outputs[:, 0] > self.threshold, xp.int32)
        return xp.astype(xp.argmax(outputs, axis=1), xp.int32)

    def probabilities(self, xp: Any, outputs: Array) -> Array:
        """Return the probability of each class or, with one output, of class 1.

        Call it only if `gives_probabilities`.
        """
        return outputs if self.absorbs is None else getattr(xp.nn, self.absorbs.function)(outputs)

    def gives_probabilities(self, model: Sequential) -> bool:
        """Return whether `probabilities` of the outputs of `model` are probabilities."""
        last: Any = model
        while isinstance(last, Sequential):
            last = last.layers[-1]
        return self.is_likelihood or isinstance(last, Sigmoid if model.n_out == 1 else Softmax)


def _without_final(kind: type[Layer], layer: Any) -> Layer | None:
    """Return `layer` without a final activation of this kind, or None if nothing else is left."""
    if _is_called_as(kind, layer):
        return None
    if not _is_called_as(Sequential, layer):
        return layer
    *layers, last = layer.layers
    kept = _without_final(kind, last)
    if kept is last:
        return layer
    layers += [] if kept is None else [kept]
    return Sequential(*layers) if layers else None


def _is_called_as(kind: type[Any], layer: Any) -> bool:
    """Return whether `layer` is of this kind and computes what that computes."""
    mine, theirs = type(layer), kind
    return isinstance(layer, kind) and all(
        getattr(mine, name, None) == getattr(theirs, name, None) for name in ("__call__", "train", "function")
    )
