"""Losses, by name: what training minimises, given a model's outputs and class labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from xpnet import nn
from xpnet.errors import shortened
from xpnet.layer import Layer
from xpnet.layers import Activation, Sigmoid, Softmax
from xpnet.models import Sequential
from xpnet.namespace import Namespace

Array = Any


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss, and how predictions follow from outputs that were trained with it.

    Attributes
    ----------
    name : str
    function : callable
        Takes `xp`, outputs (batch, n_out) and labels (batch,); returns the mean loss, shape (), and its
        gradient at the outputs.
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
    """

    name: str
    function: Callable[[Namespace, Array, Array], tuple[Array, Array]]
    unit: str
    threshold: float = 0.0
    absorbs: type[Activation] | None = None
    least_outputs: int = 1
    is_likelihood: bool = True

    def __reduce__(self) -> Any:
        return find_loss, (self.name,)

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

    def predict(self, xp: Any, outputs: Array) -> Array:
        """Return the predicted class of each row, shape (batch,), int32: that of the largest output.

        Ties go to the first. Probabilities have the same order, but several may round to one number.
        """
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


def _loss(name: str, **options: Any) -> Loss:
    """Return a function of `nn`, which takes class labels or targets of the outputs' shape, as a loss."""
    _, labelled = nn.FUNCTIONS[name].arrays.values()

    def function(xp: Namespace, outputs: Array, labels: Array) -> tuple[Array, Array]:
        if labelled.kind != "int":
            # 0 or 1 for one output, else one-hot rows.
            labels = xp.nn.one_hot(labels, outputs.shape[1], dtype=outputs.dtype)
        return getattr(xp.nn, name)(outputs, labels)

    return Loss(name, function, **options)


LOSSES = {
    loss.name: loss
    for loss in (
        _loss("softmax_cross_entropy", unit="nats per example", absorbs=Softmax, least_outputs=2),
        _loss("sigmoid_cross_entropy", unit="nats per output", absorbs=Sigmoid),
        _loss("squared_error", unit="squared error per output", threshold=0.5, is_likelihood=False),
    )
}


def find_loss(name: str) -> Loss:
    """Return the loss called `name`.

    Raises
    ------
    ValueError
        If there is none; the message names the choices.
    """
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"unknown loss {shortened(repr(name), 100)}: choose one of {', '.join(LOSSES)}")
    return LOSSES[name]
