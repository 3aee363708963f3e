"""The functions of `xpnet.nn` that are kernels of `kernels.cu`, on the thread's current device and stream.

Each has the parameters of its twin less `xp`, and its results; the twins describe them. An array that is not
contiguous, or not of the first one's dtype, is copied first. Nothing is read back to the host.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import cupy
import numpy

from xpnet_cupy import launch, scratch

Array = Any

_INDICES = (numpy.dtype("int32"), numpy.dtype("int64"))
NOWHERE = numpy.uintp(0)
"""A null pointer."""


@functools.cache
def _source() -> str:
    return pathlib.Path(__file__).with_name("kernels.cu").read_text(encoding="utf-8")


@functools.cache
def _kernel(name: str, *keys: object) -> Any:
    """Return a kernel, compiled by itself: 0.1 s, where all would take 4; CuPy keeps it on disk."""
    symbol = launch.symbol(name, *keys)
    module = cupy.RawModule(code=_source(), options=launch.OPTIONS, name_expressions=(symbol,))
    return module.get_function(symbol)


def run(name: str, keys: tuple[object, ...], blocks: int, threads: int, *args: Any) -> None:
    """Launch a kernel, unless there is nothing to do.

    Parameters
    ----------
    name : str
    keys : tuple
        What it is made for, see `launch.symbol`.
    blocks, threads : int
    *args : array, int or NumPy scalar
        An int is an `Index`.
    """
    kernel = _kernel(name, *keys)
    if blocks:  # CuPy would launch one block for none.
        kernel((blocks,), (threads,), args)


def ready(x: Array, dtype: numpy.dtype) -> Array:
    """Return `x` itself if a kernel can read it as it is, else a copy."""
    if x.dtype == dtype and x.flags.c_contiguous:
        return x
    return cupy.asarray(x, dtype=dtype, order="C")


def _ready_indices(x: Array, dtype: numpy.dtype | None = None) -> Array:
    return ready(x, dtype or (x.dtype if x.dtype in _INDICES else _INDICES[-1]))


def _each(name: str, *arrays: Array, keys: tuple[object, ...]) -> Array:
    """Return what a kernel makes of each number, or of each pair in the same place."""
    dtype = arrays[0].dtype
    out = cupy.empty(arrays[0].shape, dtype)
    inputs = [ready(x, dtype) for x in arrays]
    run(name, (*keys, dtype), launch.blocks(out.size), launch.THREADS, *inputs, out, out.size)
    return out


def _each_row(name: str, *arrays: Array) -> Array:
    """Return what a kernel makes of each row, or of each pair of rows."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    out = cupy.empty(shape, dtype)
    inputs = [ready(x, dtype) for x in arrays]
    run(name, (dtype,), launch.rows(shape), launch.threads(shape[-1]), *inputs, out, shape[-1])
    return out


def _finish(dtype: numpy.dtype, blocks: int, total: Any, weight: float) -> tuple[Array, ...]:
    """Return the last arguments of a loss, of which the third is the loss."""
    parts, arrived = cupy.empty((blocks,), dtype), scratch.current().arrived
    return parts, arrived, cupy.empty((), dtype), total, dtype.type(weight)


def gather_batch(images: Array, indices: Array, *, scale: float, offset: float, dtype: Any) -> Array:
    """See `xpnet.nn.gather_batch`."""
    return gather(images, indices, scale=scale, offset=offset, dtype=dtype)[0]


def gather(
    images: Array, indices: Array, labels: Array | None = None, *, scale: float, offset: float, dtype: Any
) -> tuple[Array, Array | None]:
    """Return a batch of images and, if there are labels, their labels: see `xpnet.nn.gather_batch`."""
    dtype, (n, features) = numpy.dtype(dtype), images.shape
    indices = _ready_indices(indices)
    # Whatever comes is in range of both: see `row_of` in the source.
    n = n if labels is None else min(n, labels.size)
    _check_not_empty(n, indices)
    x, batch = cupy.empty((indices.size, features), dtype), None
    last: list[Any] = [features, dtype.type(scale), dtype.type(offset), NOWHERE, NOWHERE]
    if labels is not None:
        batch = cupy.empty(indices.shape, indices.dtype)
        last[-2:] = _ready_indices(labels, indices.dtype), batch
    keys, size = (images.dtype, dtype, indices.dtype), (indices.size, launch.threads(features))
    run("gather_batch", keys, *size, ready(images, images.dtype), indices, x, *last, n)
    return x, batch


def _check_not_empty(n: int, indices: Array) -> None:
    if n == 0 and indices.size:
        raise IndexError(f"{indices.size} rows are to be gathered, but there are none")


def gather_labels(labels: Array, indices: Array) -> Array:
    """See `xpnet.nn.gather_labels`."""
    if labels.dtype not in _INDICES:
        return cupy.take(labels, indices, axis=0)
    _check_not_empty(labels.size, indices)
    batch = cupy.empty(indices.shape, labels.dtype)
    inputs = _ready_indices(labels), _ready_indices(indices, labels.dtype)
    size = launch.blocks(batch.size), launch.THREADS
    run("gather_labels", (labels.dtype,), *size, *inputs, batch, batch.size, labels.size)
    return batch


def sigmoid(z: Array) -> Array:
    """See `xpnet.nn.sigmoid`."""
    return _each("activate", z, keys=("sigmoid",))


def sigmoid_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.sigmoid_backward`."""
    return _each("activate_backward", y, dy, keys=("sigmoid",))


def relu(z: Array) -> Array:
    """See `xpnet.nn.relu`."""
    return _each("activate", z, keys=("relu",))


def relu_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.relu_backward`."""
    return _each("activate_backward", y, dy, keys=("relu",))


def tanh(z: Array) -> Array:
    """See `xpnet.nn.tanh`."""
    return _each("activate", z, keys=("tanh",))


def tanh_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.tanh_backward`."""
    return _each("activate_backward", y, dy, keys=("tanh",))


def softmax(z: Array) -> Array:
    """See `xpnet.nn.softmax`."""
    return _each_row("softmax", z)


def softmax_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.softmax_backward`."""
    return _each_row("softmax_backward", y, dy)


def log_softmax(z: Array) -> Array:
    """See `xpnet.nn.log_softmax`."""
    return _each_row("log_softmax", z)


def log_softmax_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.log_softmax_backward`."""
    return _each_row("log_softmax_backward", y, dy)


def one_hot(labels: Array, classes: int, *, dtype: Any) -> Array:
    """See `xpnet.nn.one_hot`."""
    labels, dtype = _ready_indices(labels), numpy.dtype(dtype)
    targets = cupy.empty((labels.size, classes), dtype)
    size = launch.blocks(targets.size), launch.THREADS
    run("one_hot", (dtype, labels.dtype), *size, labels, targets, targets.size, classes)
    return targets


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.softmax_cross_entropy`."""
    return loss("softmax_cross_entropy", logits, labels)


def sigmoid_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.sigmoid_cross_entropy`."""
    return loss("sigmoid_cross_entropy", logits, targets)


def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.squared_error`."""
    return loss("squared_error", outputs, targets)


def loss(
    name: str, outputs: Array, targets: Array, total: Any = NOWHERE, weight: float = 0.0
) -> tuple[Array, Array]:
    """Return a loss of this name and its gradient; ``weight * loss`` is added to a total.

    Parameters
    ----------
    name : str
    outputs, targets : array
        As `xpnet.nn` has them; `targets` may be labels.
    total : array of one int64, optional
        The address of a number.
    weight : float
    """
    dtype, gradient = outputs.dtype, cupy.empty(outputs.shape, outputs.dtype)
    keys: tuple[object, ...] = (dtype,)
    if name == "softmax_cross_entropy":
        targets = _ready_indices(targets)
        keys = dtype, targets.dtype
        blocks, width = outputs.shape
        threads = launch.threads(width)
    else:
        targets = ready(targets, dtype)
        blocks, width, threads = launch.blocks(outputs.size), outputs.size, launch.THREADS
    last = _finish(dtype, blocks, total, weight)
    run(name, keys, blocks, threads, ready(outputs, dtype), targets, gradient, width, *last)
    return last[2], gradient


def accumulate(total: Array, value: Array, weight: float) -> Array:
    """See `xpnet.nn.accumulate`."""
    dtype, result = total.dtype, cupy.empty((), total.dtype)
    run("accumulate", (dtype,), 1, 1, total, ready(value, dtype), result, dtype.type(weight))
    return result


def sgd_step(param: Array, grad: Array, lr: float) -> Array:
    """See `xpnet.nn.sgd_step`. The parameter is overwritten."""
    return _step("sgd_step", grad, (param,), lr)[0]


def momentum_step(param: Array, grad: Array, velocity: Array, lr: float, beta: float) -> tuple[Array, ...]:
    """See `xpnet.nn.momentum_step`. The parameter and the velocity are overwritten."""
    return _step("momentum_step", grad, (param, velocity), lr, beta)


def nesterov_step(param: Array, grad: Array, velocity: Array, lr: float, beta: float) -> tuple[Array, ...]:
    """See `xpnet.nn.nesterov_step`. The parameter and the velocity are overwritten."""
    return _step("nesterov_step", grad, (param, velocity), lr, beta)


def adam_step(
    param: Array,
    grad: Array,
    mean: Array,
    variance: Array,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[Array, ...]:
    """See `xpnet.nn.adam_step`. The parameter and both moments are overwritten.

    `step` may also be an array of two numbers, ``1 - beta1**step`` and ``1 - beta2**step``: see `count`.
    """
    return _step("adam_step", grad, (param, mean, variance), step, lr, beta1, beta2, eps)


def _sgd_numbers(dtype: numpy.dtype, lr: float) -> list[Any]:
    return [dtype.type(lr)]


def _momentum_numbers(dtype: numpy.dtype, lr: float, beta: float) -> list[Any]:
    return [dtype.type(number) for number in (lr, beta, 1 - beta)]


def _adam_numbers(
    dtype: numpy.dtype, step: Any, lr: float, beta1: float, beta2: float, eps: float
) -> list[Any]:
    known = isinstance(step, int)
    unbias1, unbias2 = (1 - beta1**step, 1 - beta2**step) if known else (1.0, 1.0)
    numbers = lr, eps, beta1, 1 - beta1, unbias1, beta2, 1 - beta2, unbias2
    return [*map(dtype.type, numbers), NOWHERE if known else step]


_NUMBERS: dict[str, Callable[..., list[Any]]] = {
    "sgd_step": _sgd_numbers,
    "momentum_step": _momentum_numbers,
    "nesterov_step": _momentum_numbers,
    "adam_step": _adam_numbers,
}


def step_numbers(name: str, dtype: numpy.dtype, *numbers: Any) -> list[Any]:
    """Return the last arguments of the kernels of a step, given the numbers of its twin."""
    return _NUMBERS[name](dtype, *numbers)


def _step(name: str, grad: Array, kept: tuple[Array, ...], *numbers: Any) -> tuple[Array, ...]:
    """Return `kept`, the parameter and its state, overwritten."""
    dtype, n = kept[0].dtype, kept[0].size
    size, grad = (launch.blocks(n), launch.THREADS), ready(grad, dtype)
    last = step_numbers(name, dtype, *numbers)

    def change(param: Array, *state: Array) -> None:
        run(name, (dtype,), *size, param, grad, n, *state, *last)

    return in_place(change, kept, dtype)


def in_place(change: Callable[..., None], kept: tuple[Array, ...], dtype: numpy.dtype) -> tuple[Array, ...]:
    """Let a function change arrays, or copies that a kernel can use, and return the arrays."""
    work = [ready(x, dtype) for x in kept]
    change(*work)
    for x, result in zip(kept, work, strict=True):
        if result is not x:
            x[...] = result
    return kept


def fetch(place: Array, size: int, dtype: numpy.dtype) -> Array:
    """Return a copy of `size` integers whose address is in `place`, which becomes that of the next ones."""
    indices = cupy.empty((size,), dtype)
    run("fetch", (dtype,), 1, launch.THREADS, place, indices, size)
    return indices


def count(steps: Array, beta1: float, beta2: float, dtype: numpy.dtype) -> Array:
    """Return ``1 - beta1**n`` and ``1 - beta2**n`` for the `n` in `steps`, which becomes ``n + 1``."""
    unbias = cupy.empty((2,), dtype)
    run("count", (dtype,), 1, 1, steps, unbias, numpy.float64(beta1), numpy.float64(beta2))
    return unbias


FUSED = {
    function.__name__: function
    for function in (
        accumulate,
        adam_step,
        gather_batch,
        gather_labels,
        log_softmax,
        log_softmax_backward,
        momentum_step,
        nesterov_step,
        one_hot,
        relu,
        relu_backward,
        sgd_step,
        sigmoid,
        sigmoid_backward,
        sigmoid_cross_entropy,
        softmax,
        softmax_backward,
        softmax_cross_entropy,
        squared_error,
        tanh,
        tanh_backward,
    )
}
