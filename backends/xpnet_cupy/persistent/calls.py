"""Which calls of `xpnet.nn` persistent kernels have functions for."""

from __future__ import annotations

import math
from numbers import Real

import numpy

from xpnet import nn
from xpnet.replay.trace import Call, Value
from xpnet_cupy import source

GATHERS = "gather_batch", "gather_labels"
SAME_ROWS = "flatten", "flatten_backward", "unflatten", "unflatten_backward"
"""What only changes the shape of rows."""

OF_ROWS = frozenset(
    {
        *GATHERS,
        *SAME_ROWS,
        "add",
        "dropout",
        "dropout_backward",
        "leaky_relu",
        "leaky_relu_backward",
        "linear",
        "linear_backward",
        "log_softmax",
        "log_softmax_backward",
        "one_hot",
        "smooth_labels",
        "softmax",
        "softmax_backward",
        *(name for name in source.ACTIVATIONS if name),
        *source.GRADIENTS,
        *(function.name for function in nn.FUNCTIONS.values() if function.is_loss),
    }
)
"""What is done by rows of the batch."""

INDICES = numpy.dtype("int32"), numpy.dtype("int64")


class NotPersistent(Exception):  # noqa: N818
    """Says why a step cannot be carried out by a persistent kernel."""


def is_row_function(call: Call) -> bool:
    """Return whether a call is done by rows of the batch."""
    return call.name in OF_ROWS


def check_call(call: Call) -> None:
    """Raise NotPersistent unless a persistent kernel has a function for a call and its numbers."""
    if call.function is not nn.FUNCTIONS.get(call.name):
        raise NotPersistent(f"`{call.name}` is in no persistent kernel")
    is_sum = call.name in ("accumulate", "accumulate_weighted")
    if not (is_row_function(call) or is_sum or (call.function.is_step and call.name in source.RULES)):
        raise NotPersistent(f"`nn.{call.name}` is in no persistent kernel")
    if call.sizes is None:
        raise NotPersistent(f"`nn.{call.name}` is given other arrays than it declares")
    varying = source.varying(call.name) if call.function.is_step else frozenset()
    for name, number in call.running.items():
        if name not in (call.function.varying if number.function is None else varying):
            raise NotPersistent(f"`{name}` of `nn.{call.name}` is a number that may change")
    for name in call.function.numbers.keys() - call.running.keys() - {"dtype", "input_gradient"}:
        number = call.numbers[name]
        if not isinstance(number, Real) or not math.isfinite(number):
            raise NotPersistent(f"`{name}` of `nn.{call.name}` is no finite number")


def whole_numbers(call: Call, value: Value) -> None:
    """Raise NotPersistent unless an array has indices or labels that kernels take."""
    if numpy.dtype(value.dtype) not in INDICES:
        raise NotPersistent(f"`nn.{call.name}` is given indices or labels of {value.dtype}")


def rows_of(value: Value) -> int | None:
    """Return the length of the first axis; None if there is none."""
    return value.shape[0] if value.shape else None


def width_of(value: Value) -> int:
    """Return how many elements a row has."""
    return math.prod(value.shape[1:])
