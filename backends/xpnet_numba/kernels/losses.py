"""Losses, each with its gradient in one pass over the data."""

from typing import Any

import numpy

from xpnet_numba.kernels.accepted import falls_back, labelled, two, two_of_some
from xpnet_numba.kernels.compiled import add, kernel, part
from xpnet_numba.kernels.exp import exp, log1p
from xpnet_numba.kernels.memory import rows
from xpnet_numba.kernels.softmax import row_max

Array = Any


@falls_back(labelled)
def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of ``-log(softmax(logits)[label])`` and its gradient."""
    d_logits = numpy.empty(logits.shape, logits.dtype)
    losses = numpy.empty(logits.shape[0], numpy.float64)
    loss = _softmax_cross_entropy(numpy.ascontiguousarray(logits), labels, d_logits, losses)
    return logits.dtype.type(loss), d_logits


@falls_back(two)
def sigmoid_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``-t log(p) - (1 - t) log(1 - p)``, ``p = sigmoid(logits)``, and its gradient."""
    return _mean(_sigmoid_cross_entropy, logits, targets)


@falls_back(two_of_some)
def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``(output - target)**2`` and its gradient."""
    return _mean(_squared_error, outputs, targets)


def _mean(function: Any, x: Array, targets: Array) -> tuple[Array, Array]:
    dx = numpy.empty(x.shape, x.dtype)
    loss = function(x.reshape(-1), targets.reshape(-1), dx.reshape(-1))
    return x.dtype.type(loss), dx


# Losses are summed in float64, so a float32 mean of a million terms is as good as one of ten.


@part
def cross_entropy_rows(
    logits: Array, labels: Array, first: int, end: int, share: Any, out: Array, losses: Array
) -> None:
    """Fill rows `first` to `end` of `losses`, and of `out` with `share` times their gradients."""
    classes = logits.shape[1]
    for i in range(first, end):
        m = row_max(logits, i)
        for j in range(classes):
            out[i, j] = logits[i, j] - m
        # A label that is no class counts as in the twin, where it meets no column.
        is_class = 0 <= labels[i] < classes
        losses[i] = -out[i, labels[i]] if is_class else 0.0
    # All rows as one: the classes alone are too few for a vector.
    flat = rows(out, first, end)
    for k in range(flat.size):
        flat[k] = exp(flat[k])
    for i in range(first, end):
        total = logits.dtype.type(0)
        for j in range(classes):
            total = add(total, out[i, j])
        losses[i] += numpy.log(total)
        factor = share / total
        for j in range(classes):
            out[i, j] *= factor
        if 0 <= labels[i] < classes:
            out[i, labels[i]] -= share


@part
def mean_loss(losses: Array) -> float:
    """Return the mean, its terms summed in their order."""
    total = 0.0
    for i in range(losses.size):
        total += losses[i]
    return total / losses.size


@kernel
def _softmax_cross_entropy(logits: Array, labels: Array, out: Array, losses: Array) -> float:
    batch = logits.shape[0]
    share = logits.dtype.type(1) / logits.dtype.type(batch)
    cross_entropy_rows(logits, labels, 0, batch, share, out, losses)
    return mean_loss(losses)


@kernel
def _sigmoid_cross_entropy(logits: Array, targets: Array, out: Array) -> float:
    zero, one = logits.dtype.type(0), logits.dtype.type(1)
    share = one / logits.dtype.type(logits.size)
    loss = 0.0
    for i in range(logits.size):
        z, t = logits[i], targets[i]
        e = exp(-abs(z))
        positive = zero if z <= zero else z
        loss = add(loss, numpy.float64(positive - z * t + log1p(e)))
        p = one / (one + e)
        out[i] = ((p if z >= zero else e * p) - t) * share
    return loss / logits.size


@kernel
def _squared_error(outputs: Array, targets: Array, out: Array) -> float:
    share = outputs.dtype.type(2) / outputs.dtype.type(outputs.size)
    loss = 0.0
    for i in range(outputs.size):
        difference = outputs[i] - targets[i]
        loss = add(loss, numpy.float64(difference * difference))
        out[i] = difference * share
    return loss / outputs.size
