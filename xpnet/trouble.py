"""Where a training first made a number that is not finite: its last epoch is taken again, with checks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.batches import spans
from xpnet.layer import Params, Pullback, has_train
from xpnet.models import Residual, Sequential
from xpnet.namespace import Namespace
from xpnet.random import Stream

if TYPE_CHECKING:
    from xpnet.trainer import Begin, Trainer

Array = Any

_LARGE = 1e3  # of inputs: far more than standardised ones or pixels from 0 to 1 have


@dataclasses.dataclass(frozen=True)
class Trouble:
    """The first number that is not finite.

    Attributes
    ----------
    step : int
        Of the epoch; the first is 1.
    what : str
        What it is, as a part of a sentence.
    layer : str or None
        The number of the layer, ``"2"`` or ``"2.0"`` in a model within the model; None if it is no layer's.
    """

    step: int
    what: str
    layer: str | None = None


class _FoundError(Exception):
    def __init__(self, what: str, layer: str | None = None) -> None:
        super().__init__(what)
        self.what, self.layer = what, layer


def find_trouble(trainer: Trainer, begin: Begin, order: np.ndarray) -> Trouble | None:
    """Return where an epoch first makes a number that is not finite; None if it does not, step by step.

    Parameters
    ----------
    trainer : Trainer
    begin : Begin
        What the epoch began with.
    order : NumPy array, shape (n,), int32
        Of the samples.
    """
    watching = trainer.as_written(begin, lambda trunk: _watched(trunk, ""))
    for number, (first, end) in enumerate(spans(len(order), trainer.batch_size), start=1):
        try:
            params, loss = watching(order[first:end])
            if not _is_finite(trainer.xp, loss):
                raise _FoundError("the loss")
            for name, p in params.items():
                if not _is_finite(trainer.xp, p):
                    raise _FoundError(f"the parameter {name!r}", name.rpartition(".")[0])
        except _FoundError as e:
            return Trouble(number, e.what, e.layer)
    return None


def remedy(trainer: Trainer) -> str:
    """Return what is likely to help, as a part of a sentence."""
    largest = trainer.largest_input()
    if largest > _LARGE:
        return f"scale the inputs, which are as large as {largest:g}, or begin the model with `Standardize`"
    lr = trainer.lr
    now = "" if lr is None else f" (now {lr:g})"
    return f"lower the learning rate{now}, or clip gradients with the optimizer's `clip_norm`"


def _is_finite(xp: Namespace, x: Array) -> bool:
    return bool(xp.to_host(xp.all(xp.isfinite(x))))


def _watched(layer: Any, path: str) -> Any:
    """Return a layer that does the same and raises `_FoundError` if a number is not finite."""
    if type(layer) in (Sequential, Residual):
        begin = f"{path}." if path else ""
        return type(layer)(*(_watched(inner, f"{begin}{i}") for i, inner in enumerate(layer.layers)))
    return (_WatchedInTraining if has_train(layer) else _Watched)(layer, path)


class _Watched:
    """A layer whose output and gradients are checked; its other attributes are those of the layer."""

    def __init__(self, layer: Any, path: str) -> None:
        self._layer, self._path = layer, path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._layer, name)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        y, pullback = self._layer(xp, params, x, stream=stream)
        return self._checked(xp, y, pullback)

    def _checked(self, xp: Namespace, y: Array, pullback: Pullback) -> tuple[Array, Pullback]:
        """Return both, or raise; the pullback that is returned checks gradients."""
        named = f"layer {self._path}, {self._layer!r}" if self._path else repr(self._layer)
        if not _is_finite(xp, y):
            raise _FoundError(f"the output of {named}", self._path)

        def checked(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            dx, grads = pullback(dy, input_gradient=input_gradient)
            if not all(_is_finite(xp, g) for g in (*grads.values(), *([] if dx is None else [dx]))):
                raise _FoundError(f"a gradient of {named}", self._path)
            return dx, grads

        return y, checked


class _WatchedInTraining(_Watched):
    """A layer with a method `train`."""

    def train(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback, Params]:
        y, pullback, state = self._layer.train(xp, params, x, stream=stream)
        return *self._checked(xp, y, pullback), state
