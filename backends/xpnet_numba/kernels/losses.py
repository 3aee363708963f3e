"""Losses, each with its gradient in one pass over the data.

Losses are summed in float64, so that a float32 mean of a million terms is as exact as one of ten.
"""

from collections.abc import Callable
from typing import Any

import numpy

from xpnet import nn
from xpnet_numba.kernels.accepted import falls_back
from xpnet_numba.kernels.activations import row_max
from xpnet_numba.kernels.compiled import add, inlined, kernel, named, part
from xpnet_numba.kernels.entries import enter
from xpnet_numba.kernels.exp import exp, log1p
from xpnet_numba.kernels.memory import rows
from xpnet_numba.lazy import named_like_its_twin

Array = Any
Scalar = Any


def mean_of(formula: Callable[..., Any]) -> Any:
    """Return the kernel of a loss that is a mean over elements, which is an operation too.

    Parameters
    ----------
    formula : function
        Has the name of the loss. It takes an element of the outputs, one of the targets, `scale`, one over
        the number of elements, and the loss's own number, if it has one; it returns a term of the mean and
        the gradient at the output.
    """
    name, term = formula.__name__, inlined(formula)

    def fill(outputs: Array, targets: Array, loss: Array, gradient: Array) -> None:
        total, scale = 0.0, outputs.dtype.type(1) / outputs.dtype.type(outputs.size)
        # Not in one loop: one that also writes would sum in another order if arrays lie near each other.
        for i in range(outputs.size):
            total = add(total, numpy.float64(term(outputs[i], targets[i], scale)[0]))
        for i in range(outputs.size):
            gradient[i] = term(outputs[i], targets[i], scale)[1]
        loss[0] = total / outputs.size

    def fill_with(outputs: Array, targets: Array, loss: Array, gradient: Array, number: Scalar) -> None:
        total, scale = 0.0, outputs.dtype.type(1) / outputs.dtype.type(outputs.size)
        own = outputs.dtype.type(number)
        for i in range(outputs.size):
            total = add(total, numpy.float64(term(outputs[i], targets[i], scale, own)[0]))
        for i in range(outputs.size):
            gradient[i] = term(outputs[i], targets[i], scale, own)[1]
        loss[0] = total / outputs.size

    loop = kernel(named(fill_with if nn.FUNCTIONS[name].numbers else fill, name))
    enter(name, loop)

    @falls_back
    @named_like_its_twin(name)
    def call(outputs: Array, targets: Array, *numbers: float) -> tuple[Array, Array]:
        gradient, loss = numpy.empty(outputs.shape, outputs.dtype), numpy.empty(1, outputs.dtype)
        loop(outputs.reshape(-1), targets.reshape(-1), loss, gradient.reshape(-1), *numbers)
        return loss[0], gradient

    call.loop = loop
    return call


@mean_of
def sigmoid_cross_entropy(z: Scalar, t: Scalar, scale: Scalar) -> tuple[Scalar, Scalar]:
    """Return ``-t log(p) - (1 - t) log(1 - p)`` with ``p = sigmoid(z)``, and ``(p - t) * scale``."""
    zero, one = type(z)(0), type(z)(1)
    e = exp(-abs(z))
    positive = zero if z <= zero else z
    term = positive - z * t + log1p(e)
    p = one / (one + e)
    return term, ((p if z >= zero else e * p) - t) * scale


@mean_of
def squared_error(output: Scalar, target: Scalar, scale: Scalar) -> tuple[Scalar, Scalar]:
    """Return ``(output - target)**2``, and ``2 * (output - target) * scale``."""
    difference = output - target
    return difference * difference, difference * (scale + scale)


@mean_of
def absolute_error(output: Scalar, target: Scalar, scale: Scalar) -> tuple[Scalar, Scalar]:
    """Return ``|output - target|``, and the sign of the difference times `scale`."""
    difference = output - target
    # The difference of equal numbers is 0, and that of nan is nan.
    slope = scale if difference > 0 else -scale if difference < 0 else difference - difference
    return abs(difference), slope


@mean_of
def huber_error(output: Scalar, target: Scalar, scale: Scalar, delta: Scalar) -> tuple[Scalar, Scalar]:
    """Return Huber's error, see `xpnet.nn.huber_error`, and its slope times `scale`."""
    difference = output - target
    slope = delta if difference > delta else -delta if difference < -delta else difference
    return slope * (difference - slope / type(slope)(2)), slope * scale


@falls_back
def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of ``-log(softmax(logits)[label])`` and its gradient."""
    d_logits = numpy.empty(logits.shape, logits.dtype)
    losses = numpy.empty(logits.shape[0], numpy.float64)
    loss = _softmax_cross_entropy(numpy.ascontiguousarray(logits), labels, d_logits, losses)
    return logits.dtype.type(loss), d_logits


@part
def cross_entropy_rows(
    logits: Array, labels: Array, first: int, end: int, scale: Any, out: Array, losses: Array
) -> None:
    """Fill rows `first` to `end` of `losses`, and of `out` with `scale` times their gradients."""
    classes = logits.shape[1]
    for i in range(first, end):
        m = row_max(logits, i)
        for j in range(classes):
            out[i, j] = logits[i, j] - m
        # As in the twin, a label that is not a class matches no column.
        is_class = 0 <= labels[i] < classes
        losses[i] = -out[i, labels[i]] if is_class else 0.0
    # All rows at once: one row has too few classes for a vector.
    flat = rows(out, first, end)
    for k in range(flat.size):
        flat[k] = exp(flat[k])
    for i in range(first, end):
        total = logits.dtype.type(0)
        for j in range(classes):
            total = add(total, out[i, j])
        losses[i] += numpy.log(total)
        factor = scale / total
        for j in range(classes):
            out[i, j] *= factor
        if 0 <= labels[i] < classes:
            out[i, labels[i]] -= scale


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
    scale = logits.dtype.type(1) / logits.dtype.type(batch)
    cross_entropy_rows(logits, labels, 0, batch, scale, out, losses)
    return mean_loss(losses)
