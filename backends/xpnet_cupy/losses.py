"""Losses of targets that are numbers, and their means by weight, by kernels of `losses.cu`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy

from xpnet import nn
from xpnet_cupy import kernels, launch, scratch

Array = Any


def loss_of(function: nn.Function) -> Callable[..., tuple[Array, Array]]:
    """Return the kernel of a loss of `xpnet.nn`, which takes the arguments of the twin in order."""
    loss = weighted_loss if "weights" in function.arrays else kernels.loss
    name, arrays = function.name, len(function.arrays)
    return lambda *values: loss(name, *values[:arrays], numbers=values[arrays:])


def weighted_loss(
    name: str,
    outputs: Array,
    targets: Array,
    weights: Array,
    total: Array | None = None,
    *,
    numbers: Sequence[float] = (),
) -> tuple[Array, Array]:
    """Return a mean by weight of `xpnet.nn` and its gradient; ``sum(weights) * loss`` is added to a total.

    Parameters
    ----------
    name : str
    outputs, targets, weights : array
    total : array of one int64, optional
        The address of a number.
    numbers : sequence of float
        What else the loss takes.
    """
    dtype, (batch, width) = outputs.dtype, outputs.shape
    outputs, targets, weights = (kernels.ready(x, dtype) for x in (outputs, targets, weights))
    lanes = launch.lanes(width)
    blocks, threads = launch.teams(batch, lanes)
    gradient, parts = (cupy.empty(shape, dtype) for shape in (outputs.shape, (blocks,)))
    # No block writes the loss of no rows.
    value = cupy.empty((), dtype) if batch else cupy.zeros((), dtype)
    whole = None
    if batch > launch.FEW_WEIGHTS:
        whole = cupy.empty((), dtype)
        kernels.run("sum_of_weights", 1, launch.THREADS, weights, batch, whole, T=dtype)
    inputs = outputs, targets, weights, whole, gradient, batch, width, lanes
    last = parts, scratch.current().arrived, value, total, *map(dtype.type, numbers)
    kernels.run(name, blocks, threads, *inputs, *last, T=dtype)
    return value, gradient


def accumulate_weighted(total: Array, value: Array, weights: Array) -> Array:
    """See `xpnet.nn.accumulate_weighted`."""
    dtype, result = total.dtype, cupy.empty((), total.dtype)
    value, weights = (kernels.ready(x, dtype) for x in (value, weights))
    inputs = total, value, weights, weights.size, result
    kernels.run("accumulate_weighted", 1, launch.THREADS, *inputs, T=dtype)
    return result


def smooth_labels(targets: Array, classes: int, smoothing: float) -> Array:
    """See `xpnet.nn.smooth_labels`."""
    return kernels.each("smooth_labels", targets, numbers=[1 - smoothing, smoothing / classes])
