"""Losses, each with its gradient in one pass over the data."""

from typing import Any

import numpy

from xpnet_numba.compiled import add, kernel
from xpnet_numba.exp import exp, log1p
from xpnet_numba.softmax import exp_row, row_max

Array = Any


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of ``-log(softmax(logits)[label])`` and its gradient."""
    d_logits = numpy.empty(logits.shape, logits.dtype)
    loss = _softmax_cross_entropy(numpy.ascontiguousarray(logits), labels, d_logits)
    return logits.dtype.type(loss), d_logits


def sigmoid_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``-t log(p) - (1 - t) log(1 - p)``, ``p = sigmoid(logits)``, and its gradient."""
    return _mean(_sigmoid_cross_entropy, logits, targets)


def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of ``(output - target)**2`` and its gradient."""
    return _mean(_squared_error, outputs, targets)


def _mean(function: Any, x: Array, targets: Array) -> tuple[Array, Array]:
    dx = numpy.empty(x.shape, x.dtype)
    loss = function(x.reshape(-1), targets.reshape(-1), dx.reshape(-1))
    return x.dtype.type(loss), dx


# Losses are summed in float64, so a float32 mean of a million terms is as good as one of ten.


@kernel
def _softmax_cross_entropy(logits: Array, labels: Array, out: Array) -> float:
    batch, classes = logits.shape
    one = logits.dtype.type(1)
    share = one / logits.dtype.type(batch)
    loss = 0.0
    for i in range(batch):
        m = row_max(logits, i)
        total = exp_row(logits, i, m, out)
        loss += numpy.log(total)
        factor = share / total
        for j in range(classes):
            out[i, j] *= factor
        label = labels[i]
        if 0 <= label < classes:  # A label that is no class counts as in the twin, where it meets no column.
            loss -= logits[i, label] - m
            out[i, label] -= share
    return loss / batch


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
