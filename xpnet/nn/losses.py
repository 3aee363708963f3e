"""Losses, each with its gradient in one call, because the two share their costly part; targets and sums."""

import numbers
from typing import Any

from xpnet.nn.declaration import function

Array = Any


@function("total: (), value: () -> sum: ()")
def accumulate(xp: Any, total: Array, value: Array, weight: float) -> Array:
    """Return ``total + weight * value``.

    Parameters
    ----------
    total, value : array, shape (), float
    weight : float

    Returns
    -------
    total : array, shape ()
    """
    number: Any = weight  # One of NumPy's would make a float64 of a float32 sum.
    return total + value * (float(number) if isinstance(number, numbers.Real) else number)


@function("labels: int[2 classes] batch, classes: count -> targets: batch classes")
def one_hot(xp: Any, labels: Array, classes: int, *, dtype: Any) -> Array:
    """Return rows of 0 with a 1 at the label; for one class, a column of the labels themselves.

    Parameters
    ----------
    labels : array, shape (batch,), int
        Class indices in ``[0, classes)``; for one class, 0 and 1. Not checked: of several classes, any other
        label meets none.
    classes : int
    dtype : dtype of `xp`

    Returns
    -------
    targets : array, shape (batch, classes), `dtype`
    """
    column = xp.expand_dims(labels, axis=1) if classes == 1 else _is_class(xp, labels, classes)
    return xp.astype(column, dtype)


@function(
    "logits: batch classes, labels: int[classes] batch -> loss: float[0 inf] (), d_logits: batch classes"
)
def softmax_cross_entropy(xp: Any, logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of ``-log(softmax(logits)[label])`` and its gradient.

    Parameters
    ----------
    logits : array, shape (batch, classes), float
    labels : array, shape (batch,), int
        Class indices in ``[0, classes)``; not checked. Any other label meets no class: its target is a row of
        zeros.

    Returns
    -------
    loss : array, shape (), in nats per example
    d_logits : array, shape (batch, classes)
    """
    batch, classes = logits.shape
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)  # (batch, 1)
    is_label = _is_class(xp, labels, classes)
    at_label = xp.where(is_label, shifted, xp.zeros_like(shifted))
    loss = xp.mean(xp.log(total)) - xp.sum(at_label) / batch
    return loss, (e / total - xp.astype(is_label, logits.dtype)) / batch


@function("logits: *, targets: float[0 1] * -> loss: float[0 inf] (), d_logits: *")
def sigmoid_cross_entropy(xp: Any, logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``-t log(p) - (1 - t) log(1 - p)`` with ``p = sigmoid(logits)``, and its gradient.

    Also called binary cross-entropy.

    Parameters
    ----------
    logits : array, any shape, float
    targets : array, shape and dtype of `logits`, in [0, 1]

    Returns
    -------
    loss : array, shape (), in nats per element
    d_logits : array, shape of `logits`
    """
    e = xp.exp(-xp.abs(logits))
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)): no argument of exp() is positive.
    loss = xp.mean(xp.maximum(logits, xp.zeros_like(logits)) - logits * targets + xp.log1p(e))
    p = xp.where(logits >= 0, 1 / (1 + e), e / (1 + e))
    return loss, (p - targets) / _size(logits)


@function("outputs: *, targets: * -> loss: float[0 inf] (), d_outputs: *")
def squared_error(xp: Any, outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``(output - target)**2`` over all elements, and its gradient.

    Parameters
    ----------
    outputs : array, any shape, float
    targets : array, shape and dtype of `outputs`

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape of `outputs`
    """
    difference = outputs - targets
    return xp.mean(difference * difference), difference * (2 / _size(outputs))


@function("outputs: *, targets: * -> loss: float[0 inf] (), d_outputs: *")
def absolute_error(xp: Any, outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``|output - target|`` over all elements, and its gradient, 0 where they are equal.

    Parameters
    ----------
    outputs : array, any shape, float
    targets : array, shape and dtype of `outputs`

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape of `outputs`
    """
    difference = outputs - targets
    return xp.mean(xp.abs(difference)), xp.sign(difference) / _size(outputs)


@function("outputs: *, targets: * -> loss: float[0 inf] (), d_outputs: *")
def huber_error(xp: Any, outputs: Array, targets: Array, delta: float) -> tuple[Array, Array]:
    """Return the mean of Huber's error over all elements, and its gradient.

    With ``d = output - target``, it is ``d**2 / 2`` where ``|d|`` is at most `delta`, else
    ``delta (|d| - delta / 2)``: Huber, "Robust Estimation of a Location Parameter" (1964).

    Parameters
    ----------
    outputs : array, any shape, float
    targets : array, shape and dtype of `outputs`
    delta : float
        Above 0.

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape of `outputs`
    """
    errors, slopes = _huber(xp, outputs - targets, delta)
    return xp.mean(errors), slopes / _size(outputs)


@function(
    "logits: batch classes, targets: float[0 1] batch classes"
    " -> loss: float[0 inf] (), d_logits: batch classes"
)
def soft_cross_entropy(xp: Any, logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean over rows of the sum of ``-t log(softmax(logits))``, and its gradient.

    Parameters
    ----------
    logits : array, shape (batch, classes), float
    targets : array, shape and dtype of `logits`
        The probability of each class. Rows usually sum to 1.

    Returns
    -------
    loss : array, shape (), in nats per example
    d_logits : array, shape (batch, classes)
    """
    losses, slopes = _soft_cross_entropy(xp, logits, targets)
    return xp.mean(losses), slopes / logits.shape[0]


@function("targets: float[0 1] *, classes: count -> smoothed: float[0 1] *")
def smooth_labels(xp: Any, targets: Array, classes: int, smoothing: float) -> Array:
    """Return targets moved towards equal probabilities: ``(1 - smoothing) t + smoothing / classes``.

    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016), section 7.

    Parameters
    ----------
    targets : array, any shape, float, in [0, 1]
    classes : int
    smoothing : float
        In [0, 1].

    Returns
    -------
    smoothed : array, shape of `targets`
    """
    return targets * (1 - smoothing) + smoothing / classes


def _soft_cross_entropy(xp: Any, logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the loss of each row, and its gradient."""
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)  # (batch, 1)
    losses = xp.sum(targets * (xp.log(total) - shifted), axis=-1)
    return losses, e / total * xp.sum(targets, axis=-1, keepdims=True) - targets


def _huber(xp: Any, difference: Array, delta: float) -> tuple[Array, Array]:
    """Return the error of each element, and its gradient."""
    slopes = xp.minimum(
        xp.maximum(difference, -delta * xp.ones_like(difference)), delta * xp.ones_like(difference)
    )
    # d**2 / 2 within delta, because the slope is d there.
    return slopes * (difference - slopes / 2), slopes


def _is_class(xp: Any, labels: Array, classes: int) -> Array:
    """Return whether the label of a row is the class of a column, shape (batch, classes)."""
    # Labels of 8 or 16 bits may be too small to count the classes; beside int32 they are promoted.
    dtype = labels.dtype if xp.iinfo(labels.dtype).max >= classes - 1 else xp.int32
    return xp.expand_dims(labels, axis=1) == xp.arange(classes, dtype=dtype)


def _size(x: Array) -> int:
    size = 1
    for n in x.shape:
        size *= n
    return size
