"""Losses of examples with weights: means by weight of the losses in `losses`, with their gradients.

A mean by weight is ``sum(w_i loss_i) / sum(w_i)`` over the rows of the batch, as in scikit-learn, and in
PyTorch's cross-entropy with weights of classes. If all weights of a batch are 0, loss and gradient are 0.
"""

from typing import Any

from xpnet.nn.declaration import function
from xpnet.nn.losses import _huber, _soft_cross_entropy

Array = Any


@function("total: (), value: (), weights: batch -> sum: ()")
def accumulate_weighted(xp: Any, total: Array, value: Array, weights: Array) -> Array:
    """Return ``total + sum(weights) * value``.

    Parameters
    ----------
    total, value : array, shape (), float
    weights : array, shape (batch,)

    Returns
    -------
    total : array, shape ()
    """
    (_,) = weights.shape
    return total + xp.sum(weights) * value


@function(
    "logits: batch classes, targets: float[0 1] batch classes, weights: float[0 inf] batch"
    " -> loss: float[0 inf] (), d_logits: batch classes",
    mixes_rows=True,
)
def weighted_soft_cross_entropy(
    xp: Any, logits: Array, targets: Array, weights: Array
) -> tuple[Array, Array]:
    """Return the mean by weight of `soft_cross_entropy` of each row, and its gradient.

    Parameters
    ----------
    logits : array, shape (batch, classes), float
    targets : array, shape and dtype of `logits`
        The probability of each class.
    weights : array, shape (batch,), not negative

    Returns
    -------
    loss : array, shape (), in nats per example
    d_logits : array, shape (batch, classes)
    """
    return _mean(xp, *_soft_cross_entropy(xp, logits, targets), weights)


@function(
    "logits: batch n_out, targets: float[0 1] batch n_out, weights: float[0 inf] batch"
    " -> loss: float[0 inf] (), d_logits: batch n_out",
    mixes_rows=True,
)
def weighted_sigmoid_cross_entropy(
    xp: Any, logits: Array, targets: Array, weights: Array
) -> tuple[Array, Array]:
    """Return the mean by weight of `sigmoid_cross_entropy` of each row, and its gradient.

    Parameters
    ----------
    logits : array, shape (batch, n_out), float
    targets : array, shape and dtype of `logits`, in [0, 1]
    weights : array, shape (batch,), not negative

    Returns
    -------
    loss : array, shape (), in nats per element
    d_logits : array, shape (batch, n_out)
    """
    e = xp.exp(-xp.abs(logits))
    losses = xp.maximum(logits, xp.zeros_like(logits)) - logits * targets + xp.log1p(e)
    p = xp.where(logits >= 0, 1 / (1 + e), e / (1 + e))
    return _mean_of_elements(xp, losses, p - targets, weights)


@function(
    "outputs: batch n_out, targets: batch n_out, weights: float[0 inf] batch"
    " -> loss: float[0 inf] (), d_outputs: batch n_out",
    mixes_rows=True,
)
def weighted_squared_error(xp: Any, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean by weight of `squared_error` of each row, and its gradient.

    Parameters
    ----------
    outputs : array, shape (batch, n_out), float
    targets : array, shape and dtype of `outputs`
    weights : array, shape (batch,), not negative

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape (batch, n_out)
    """
    difference = outputs - targets
    return _mean_of_elements(xp, difference * difference, 2 * difference, weights)


@function(
    "outputs: batch n_out, targets: batch n_out, weights: float[0 inf] batch"
    " -> loss: float[0 inf] (), d_outputs: batch n_out",
    mixes_rows=True,
)
def weighted_absolute_error(xp: Any, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean by weight of `absolute_error` of each row, and its gradient.

    Parameters
    ----------
    outputs : array, shape (batch, n_out), float
    targets : array, shape and dtype of `outputs`
    weights : array, shape (batch,), not negative

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape (batch, n_out)
    """
    difference = outputs - targets
    return _mean_of_elements(xp, xp.abs(difference), xp.sign(difference), weights)


@function(
    "outputs: batch n_out, targets: batch n_out, weights: float[0 inf] batch"
    " -> loss: float[0 inf] (), d_outputs: batch n_out",
    mixes_rows=True,
)
def weighted_huber_error(
    xp: Any, outputs: Array, targets: Array, weights: Array, delta: float
) -> tuple[Array, Array]:
    """Return the mean by weight of `huber_error` of each row, and its gradient.

    Parameters
    ----------
    outputs : array, shape (batch, n_out), float
    targets : array, shape and dtype of `outputs`
    weights : array, shape (batch,), not negative
    delta : float
        Above 0.

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape (batch, n_out)
    """
    return _mean_of_elements(xp, *_huber(xp, outputs - targets, delta), weights)


def _mean(xp: Any, losses: Array, slopes: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean by weight of the losses of rows, and its gradient, given that of each row."""
    total = xp.sum(weights)
    shares = weights / xp.where(total > 0, total, xp.ones_like(total))
    return xp.sum(shares * losses), xp.expand_dims(shares, axis=1) * slopes


def _mean_of_elements(xp: Any, losses: Array, slopes: Array, weights: Array) -> tuple[Array, Array]:
    """Return what `_mean` returns, given the loss of each element of a row, of which a row has the mean."""
    return _mean(xp, xp.mean(losses, axis=1), slopes / losses.shape[1], weights)
