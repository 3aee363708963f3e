"""Kernels of `kernels.cu` on arrays, on the thread's current device and stream.

Functions of `xpnet.nn` have the parameters of their twins less `xp`, and their results; the twins describe
them. An array that is not contiguous, or not of the first one's dtype, is copied first. Nothing is read back
to the host.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any

import cupy
import numpy

from xpnet import nn
from xpnet_cupy import launch, scratch, source

Array = Any

_INDICES = (numpy.dtype("int32"), numpy.dtype("int64"))
_NULL = numpy.uintp(0)


@functools.cache
def _kernel(symbol: str) -> Any:
    """Return a kernel, compiled by itself: 0.1 s, all of them would take 4; CuPy keeps it on disk."""
    module = cupy.RawModule(code=source.CODE, options=launch.OPTIONS, name_expressions=(symbol,))
    return module.get_function(symbol)


def run(name: str, blocks: int, threads: int, *args: Any, **made_for: object) -> None:
    """Launch a kernel, unless there is nothing to do.

    Parameters
    ----------
    name : str
    blocks, threads : int
    *args : array, int, NumPy scalar, struct or None
        An int is an `Index`. A struct is a NumPy array of one element, passed by value. None is a null
        pointer.
    **made_for
        See `source.symbol`.
    """
    kernel = _kernel(source.symbol(name, **made_for))
    if blocks:  # CuPy would launch one block for none.
        kernel((blocks,), (threads,), tuple([_NULL if arg is None else arg for arg in args]))


def ready(x: Array, dtype: numpy.dtype) -> Array:
    """Return `x` itself if a kernel can read it as it is, else a copy."""
    if x.dtype == dtype and x.flags.c_contiguous:
        return x
    return cupy.asarray(x, dtype=dtype, order="C")


def _ready_indices(x: Array, dtype: numpy.dtype | None = None) -> Array:
    return ready(x, dtype or (x.dtype if x.dtype in _INDICES else _INDICES[-1]))


def each(name: str, *arrays: Array, numbers: Sequence[float] = (), **made_for: object) -> Array:
    """Return what a kernel makes of each number, or of the numbers in the same place of several arrays.

    The kernel may take other numbers after these, of the dtype of the arrays.
    """
    dtype = arrays[0].dtype
    out = cupy.empty(arrays[0].shape, dtype)
    inputs = [ready(x, dtype) for x in arrays]
    last = out, out.size, *map(dtype.type, numbers)
    run(name, launch.blocks(out.size), launch.THREADS, *inputs, *last, T=dtype, **made_for)
    return out


def each_row(name: str, *arrays: Array) -> Array:
    """Return what a kernel makes of each row, or of the same row of several arrays."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    out = cupy.empty(shape, dtype)
    inputs = [ready(x, dtype) for x in arrays]
    run(name, launch.rows(shape), launch.threads(shape[-1]), *inputs, out, shape[-1], T=dtype)
    return out


def leaky_relu(z: Array, *, slope: float) -> Array:
    """See `xpnet.nn.leaky_relu`."""
    return each("leaky_relu", z, numbers=[slope])


def leaky_relu_backward(z: Array, dy: Array, *, slope: float) -> Array:
    """See `xpnet.nn.leaky_relu_backward`."""
    return each("leaky_relu_backward", z, dy, numbers=[slope])


def loss(
    name: str,
    outputs: Array,
    targets: Array,
    total: Array | None = None,
    weight: float = 0.0,
    *,
    numbers: Sequence[float] = (),
) -> tuple[Array, Array]:
    """Return a loss of `xpnet.nn` and its gradient; ``weight * loss`` is added to a total.

    Parameters
    ----------
    name : str
    outputs, targets : array
    total : array of one int64, optional
        The address of a number.
    weight : float
    numbers : sequence of float
        What else the loss takes.
    """
    dtype, made_for = outputs.dtype, {"T": outputs.dtype}
    of_outputs, of_targets = nn.FUNCTIONS[name].arrays.values()
    if of_targets.kind == "int":
        targets = _ready_indices(targets)
        made_for["I"] = targets.dtype
    if of_outputs.axes is None:
        sizes: tuple[int, ...] = (outputs.size,)
        blocks, threads = launch.shares(outputs.size), launch.THREADS
    else:
        sizes = *outputs.shape, launch.lanes(outputs.shape[1])
        blocks, threads = launch.teams(len(outputs), sizes[-1])
    outputs, targets = ready(outputs, dtype), ready(targets, made_for.get("I", dtype))
    value, gradient, sums = (cupy.empty(shape, dtype) for shape in ((), outputs.shape, (blocks,)))
    last = sums, scratch.current().arrived, value, total, *map(dtype.type, (weight, *numbers))
    run(name, blocks, threads, outputs, targets, gradient, *sizes, *last, **made_for)
    return value, gradient


def accumulate(total: Array, value: Array, weight: float) -> Array:
    """See `xpnet.nn.accumulate`."""
    dtype, result = total.dtype, cupy.empty((), total.dtype)
    run("accumulate", 1, 1, total, ready(value, dtype), result, dtype.type(weight), T=dtype)
    return result


def sum_of_squares(grad: Array) -> Array:
    """See `xpnet.nn.sum_of_squares`."""
    dtype, blocks = grad.dtype, launch.blocks(grad.size)
    # No block sums up nothing.
    total = cupy.empty((), dtype) if blocks else cupy.zeros((), dtype)
    parts = cupy.empty((blocks,), dtype)
    arrived = scratch.current().arrived
    run(
        "sum_of_squares",
        blocks,
        launch.THREADS,
        ready(grad, dtype),
        grad.size,
        parts,
        arrived,
        total,
        T=dtype,
    )
    return total


def clip_by_norm(grad: Array, squares: Array, limit: float) -> Array:
    """See `xpnet.nn.clip_by_norm`."""
    dtype, y = grad.dtype, cupy.empty(grad.shape, grad.dtype)
    last = y, y.size, dtype.type(limit)
    inputs = ready(grad, dtype), ready(squares, dtype)
    run("clip_by_norm", launch.blocks(y.size), launch.THREADS, *inputs, *last, T=dtype)
    return y


def gather_batch(images: Array, indices: Array, *, scale: float, offset: float, dtype: Any) -> Array:
    """See `xpnet.nn.gather_batch`."""
    return gather(images, indices, scale=scale, offset=offset, dtype=dtype)[0]


def gather(
    images: Array, indices: Array, labels: Array | None = None, *, scale: float, offset: float, dtype: Any
) -> tuple[Array, Array | None]:
    """Return a batch of images and, if there are labels, their labels: see `xpnet.nn.gather_batch`."""
    dtype, (n, *further) = numpy.dtype(dtype), images.shape
    images, indices, batch = ready(images, images.dtype), _ready_indices(indices), None
    if labels is not None:
        # The kernel keeps an index in the range of both: see `row_of` in the source.
        n = min(n, labels.size)
        labels, batch = _ready_indices(labels, indices.dtype), cupy.empty(indices.shape, indices.dtype)
    check_not_empty(n, indices)
    x, features = cupy.empty((indices.size, *further), dtype), math.prod(further)
    numbers = features, dtype.type(scale), dtype.type(offset)
    made_for = {"S": images.dtype, "T": dtype, "I": indices.dtype}
    size = indices.size, launch.threads(features)
    run("gather_batch", *size, images, indices, x, *numbers, labels, batch, n, **made_for)
    return x, batch


def check_not_empty(n: int, indices: Array) -> None:
    """Raise an `IndexError` if rows are to be gathered of none."""
    if n == 0 and indices.size:
        raise IndexError(f"{indices.size} rows are to be gathered, but there are none")


def gather_labels(labels: Array, indices: Array) -> Array:
    """See `xpnet.nn.gather_labels`."""
    if labels.dtype not in _INDICES:
        return cupy.take(labels, indices, axis=0)
    check_not_empty(labels.size, indices)
    batch = cupy.empty(indices.shape, labels.dtype)
    inputs = _ready_indices(labels), _ready_indices(indices, labels.dtype)
    size = launch.blocks(batch.size), launch.THREADS
    run("gather_labels", *size, *inputs, batch, batch.size, labels.size, I=labels.dtype)
    return batch


def one_hot(labels: Array, classes: int, *, dtype: Any) -> Array:
    """See `xpnet.nn.one_hot`."""
    labels, dtype = _ready_indices(labels), numpy.dtype(dtype)
    targets = cupy.empty((labels.size, classes), dtype)
    size = launch.blocks(targets.size), launch.THREADS
    run("one_hot", *size, labels, targets, targets.size, classes, T=dtype, I=labels.dtype)
    return targets


def drawing(key: int, step: Any) -> tuple[Any, ...]:
    """Return what kernels that draw take: two words of the key, the step on the device, and as a word."""
    counted, number = (None, int(step)) if isinstance(step, numbers.Integral) else (step, 0)
    low, high, word = (numpy.uint32(word & nn.WORD) for word in (int(key), int(key) >> 32, number))
    return low, high, counted, word


def dropout(x: Array, key: int, step: Any, rate: float, *, first: int = 0) -> Array:
    """See `xpnet.nn.dropout`; the step may be an array of one int64 on the device too."""
    dtype, y = x.dtype, cupy.empty(x.shape, x.dtype)
    last = *drawing(key, step), numpy.uint32(nn.drop_below(rate)), dtype.type(1 / (1 - rate)), first
    fours = -(-(x.size + first % 4) // 4) if x.size else 0
    run("dropout", launch.blocks(fours), launch.THREADS, ready(x, dtype), y, x.size, *last, T=dtype)
    return y


def dropout_backward(dy: Array, key: int, step: Any, rate: float, *, first: int = 0) -> Array:
    """See `xpnet.nn.dropout_backward` and `dropout`."""
    return dropout(dy, key, step, rate, first=first)


def advance(cell: Array) -> Array:
    """Return the number in a cell, shape (1,), int64, which becomes the next one."""
    number = cupy.empty((1,), cell.dtype)
    run("advance", 1, 1, cell, number, I=cell.dtype)
    return number


def pick(address: Array, dtype: numpy.dtype) -> Array:
    """Return the number at an address, shape (1,); the address becomes that of the next number."""
    number = cupy.empty((1,), dtype)
    run("pick", 1, 1, address, number, T=dtype)
    return number


def fetch(address: Array, shape: tuple[int, ...], dtype: numpy.dtype) -> Array:
    """Return a copy of the numbers at an address, which becomes that of the next ones."""
    copy = cupy.empty(shape, dtype)
    run("fetch", 1, launch.THREADS, address, copy, copy.size, N=dtype)
    return copy


def fetch_labels(
    address: Array, labels: Array, *, shape: tuple[int, ...], dtype: numpy.dtype
) -> tuple[Array, Array]:
    """Return what `fetch` does of indices, and the labels at these."""
    copy, batch = cupy.empty(shape, dtype), cupy.empty(shape, dtype)
    check_not_empty(labels.size, copy)
    last = _ready_indices(labels, dtype), batch, labels.size
    run("fetch_labels", 1, launch.THREADS, address, copy, copy.size, *last, I=dtype)
    return copy, batch


def count(steps: Array, beta1: float, beta2: float, dtype: numpy.dtype) -> Array:
    """Return ``1 - beta1**n`` and ``1 - beta2**n`` for the `n` in `steps`, which becomes ``n + 1``."""
    unbias = cupy.empty((2,), dtype)
    run("count", 1, 1, steps, unbias, numpy.float64(beta1), numpy.float64(beta2), T=dtype)
    return unbias
