"""The losses: see `xpnet.loss` for what a loss is."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from xpnet.checks import fraction, positive, set_fields
from xpnet.errors import shortened
from xpnet.layers import Sigmoid, Softmax
from xpnet.loss import CLASSES, LABELS
from xpnet.loss import Loss as Loss
from xpnet.namespace import Namespace

Array = Any


class _Declared(Loss):
    """Base of the losses of `xpnet`: those that `nn` has under their names."""

    def function(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the mean loss of a batch and its gradient, see `Loss`."""
        if targets.ndim == 1:
            if weights is None and self._takes_labels:
                return getattr(xp.nn, self.name)(outputs, targets)
            # 0 or 1 for one output, else one-hot rows.
            targets = xp.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)
        return self.of_numbers(xp, outputs, targets, weights)

    @property
    def _takes_labels(self) -> bool:
        """Whether `nn` has a function of class indices that does what this loss does."""
        return False

    def of_numbers(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Return the mean loss of a batch and its gradient, given targets of the shape of the outputs."""
        return _called(xp, self.name, outputs, targets, weights)


def _called(
    xp: Namespace, name: str, outputs: Array, targets: Array, weights: Array | None, **options: float
) -> tuple[Array, Array]:
    """Return what the loss `name` of `nn` gives, or its mean by weight."""
    if weights is None:
        return getattr(xp.nn, name)(outputs, targets, **options)
    return getattr(xp.nn, f"weighted_{name}")(outputs, targets, weights, **options)


@dataclasses.dataclass(frozen=True)
class SoftmaxCrossEntropy(_Declared):
    """Cross-entropy of classes that exclude each other: ``-sum(t log(softmax(z)))`` of each row.

    Parameters
    ----------
    label_smoothing : float
        Share of each target that is divided among all classes, in [0, 1).
    """

    label_smoothing: float = 0.0

    name = "softmax_cross_entropy"
    unit = "nats per example"
    absorbs = Softmax
    least_outputs = 2
    interval = 0.0, 1.0
    numbers_are = CLASSES

    def __post_init__(self) -> None:
        set_fields(self, label_smoothing=fraction)

    @property
    def _takes_labels(self) -> bool:
        return not self.label_smoothing

    def of_numbers(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Return the mean loss of a batch and its gradient, given the probability of each class."""
        if self.label_smoothing:
            targets = xp.nn.smooth_labels(targets, targets.shape[1], self.label_smoothing)
        return _called(xp, "soft_cross_entropy", outputs, targets, weights)


@dataclasses.dataclass(frozen=True)
class SigmoidCrossEntropy(_Declared):
    """Cross-entropy of each output by itself (binary); for two classes with one output, or several labels.

    Parameters
    ----------
    label_smoothing : float
        Share of each target that is moved to 1/2, in [0, 1).
    """

    label_smoothing: float = 0.0

    name = "sigmoid_cross_entropy"
    unit = "nats per output"
    absorbs = Sigmoid
    interval = 0.0, 1.0
    numbers_are = LABELS

    def __post_init__(self) -> None:
        set_fields(self, label_smoothing=fraction)

    def of_numbers(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Return the mean loss of a batch and its gradient, given 0, 1 or a probability for each output."""
        if self.label_smoothing:
            targets = xp.nn.smooth_labels(targets, 2, self.label_smoothing)
        return _called(xp, self.name, outputs, targets, weights)


@dataclasses.dataclass(frozen=True)
class SquaredError(_Declared):
    """The mean of ``(y - t)**2``."""

    name = "squared_error"
    unit = "squared error per output"
    threshold = 0.5
    is_likelihood = False


@dataclasses.dataclass(frozen=True)
class AbsoluteError(_Declared):
    """The mean of ``|y - t|``."""

    name = "absolute_error"
    unit = "absolute error per output"
    threshold = 0.5
    is_likelihood = False


@dataclasses.dataclass(frozen=True)
class HuberError(_Declared):
    """The mean of Huber's error: squared for small differences, absolute for large ones.

    Parameters
    ----------
    delta : float
        The difference from which it is absolute, above 0.
    """

    delta: float = 1.0

    name = "huber_error"
    unit = "Huber error per output"
    threshold = 0.5
    is_likelihood = False

    def __post_init__(self) -> None:
        set_fields(self, delta=positive)

    def of_numbers(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Return the mean loss of a batch and its gradient, given values to predict."""
        return _called(xp, self.name, outputs, targets, weights, delta=self.delta)


@dataclasses.dataclass(frozen=True)
class OwnLoss(Loss):
    """A function as a loss; a loss of your own with options is a subclass of `Loss` instead.

    Parameters
    ----------
    of : callable
        Takes `xp`, outputs and targets, and perhaps `weights`; returns the mean loss and its gradient at the
        outputs.
    """

    of: Callable[..., tuple[Array, Array]]

    threshold = 0.5
    is_likelihood = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the function."""
        return getattr(self.of, "__name__", type(self.of).__name__)

    @property
    def takes_weights(self) -> bool:
        """Whether the function takes the weights of examples."""
        return "weights" in inspect.signature(self.of).parameters

    def function(
        self, xp: Namespace, outputs: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Return what the function returns."""
        others = () if weights is None else (weights,)
        return self.of(xp, outputs, targets, *others)


KINDS: dict[str, type[Any]] = {kind.name: kind for kind in _Declared.__subclasses__()}
"""The classes of the losses of `xpnet`, by name; their fields are options."""

LOSSES: dict[str, Loss] = {name: kind() for name, kind in KINDS.items()}
"""The losses of `xpnet` with their usual options, by name."""


def find_loss(loss: Any) -> Loss:
    """Return a loss, given its name, itself, or a function that is one.

    Raises
    ------
    ValueError
        If there is none of that name; the message names the choices.
    TypeError
        If it is something else.
    """
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if isinstance(loss, Loss):
        return loss
    function = getattr(loss, "function", loss)
    if callable(function) and not isinstance(loss, type):
        return OwnLoss(function)
    if isinstance(loss, type):
        raise TypeError(f"`loss` is the class {loss.__name__}; pass an object, as in `{loss.__name__}()`")
    raise ValueError(f"unknown loss {shortened(repr(loss), 100)}: choose one of {', '.join(LOSSES)}")


def short_name(loss: Loss) -> str | Loss:
    """Return the name of a loss of `xpnet` with its usual options, and any other loss as it is."""
    return loss.name if LOSSES.get(loss.name) == loss else loss


def loss_about(loss: str | Loss) -> Any:
    """Return a loss for a file: its name, with its options if these are not the usual ones.

    Raises
    ------
    ValueError
        If it is a loss of one's own, of which a file has no code.
    """
    if isinstance(loss, str):
        return loss
    if KINDS.get(loss.name) is not type(loss):
        return {"own": loss.name}
    options: Any = loss
    return {"loss": loss.name, **dataclasses.asdict(options)}


def described_loss(about: Any) -> str | Loss:
    """Return the loss that `loss_about` described."""
    if isinstance(about, str):
        return find_loss(about).name
    options = dict(about)
    return KINDS[options.pop("loss")](**options)
