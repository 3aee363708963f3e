"""The functions of `xpnet.nn` that are kernels of `kernels.cu`, on the thread's current device and stream.

Each has the parameters of its twin less `xp`, and its results; the twins describe them. An array that is not
contiguous, or not of the first one's dtype, is copied first. Nothing is read back to the host.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import cupy
import numpy

from xpnet_cupy import launch

Array = Any

_INDEX = numpy.dtype("int64")


@functools.cache
def _module() -> Any:
    """Return the compiled file; CuPy keeps it on disk and, once for each device, in memory."""
    source = pathlib.Path(__file__).with_name("kernels.cu").read_text(encoding="utf-8")
    return cupy.RawModule(
        code=source, options=launch.OPTIONS, name_expressions=tuple(launch.SYMBOLS.values())
    )


@functools.cache
def _kernel(name: str, *dtypes: numpy.dtype) -> Any:
    return _module().get_function(launch.symbol(name, *dtypes))


def _run(name: str, dtypes: tuple[numpy.dtype, ...], blocks: int, threads: int, *args: Any) -> None:
    kernel = _kernel(name, *dtypes)
    if blocks:  # CuPy would launch one block for none.
        kernel((blocks,), (threads,), args)


def _ready(x: Array, dtype: numpy.dtype) -> Array:
    """Return `x` itself if a kernel can read it as it is, else a copy."""
    if x.dtype == dtype and x.flags.c_contiguous:
        return x
    return cupy.asarray(x, dtype=dtype, order="C")


def _each(name: str, *arrays: Array) -> Array:
    """Return what a kernel makes of each number, or of each pair in the same place."""
    dtype = arrays[0].dtype
    out = cupy.empty(arrays[0].shape, dtype)
    inputs = [_ready(x, dtype) for x in arrays]
    _run(name, (dtype,), launch.blocks(out.size), launch.THREADS, *inputs, out, out.size)
    return out


def _each_row(name: str, *arrays: Array) -> Array:
    """Return what a kernel makes of each row, or of each pair of rows."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    out = cupy.empty(shape, dtype)
    inputs = [_ready(x, dtype) for x in arrays]
    _run(name, (dtype,), launch.rows(shape), launch.threads(shape[-1]), *inputs, out, shape[-1])
    return out


def _mean(parts: Array, n: int) -> Array:
    """Return ``sum(parts) / n`` as an array of shape (), added up in an order of its own."""
    loss = cupy.empty((), parts.dtype)
    _run("mean", (parts.dtype,), 1, launch.THREADS, parts, loss, parts.size, n)
    return loss


def _loss(name: str, outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return a loss that is a mean over all numbers, and its gradient."""
    dtype, n = outputs.dtype, outputs.size
    gradient = cupy.empty(outputs.shape, dtype)
    parts = cupy.empty((launch.blocks(n),), dtype)
    inputs = _ready(outputs, dtype), _ready(targets, dtype)
    _run(name, (dtype,), parts.size, launch.THREADS, *inputs, gradient, parts, n)
    return _mean(parts, n), gradient


def _step(name: str, grad: Array, kept: tuple[Array, ...], *numbers: float) -> tuple[Array, ...]:
    """Return `kept`, the parameter and its state, overwritten."""
    dtype, n = kept[0].dtype, kept[0].size
    param, *state = work = [_ready(x, dtype) for x in kept]
    rounded = [dtype.type(number) for number in numbers]
    inputs = param, _ready(grad, dtype), *state
    _run(name, (dtype,), launch.blocks(n), launch.THREADS, *inputs, n, *rounded)
    for x, result in zip(kept, work, strict=True):
        if result is not x:
            x[...] = result
    return kept


def gather_batch(images: Array, indices: Array, *, scale: float, offset: float, dtype: Any) -> Array:
    """See `xpnet.nn.gather_batch`."""
    dtype, features = numpy.dtype(dtype), images.shape[1]
    x = cupy.empty((indices.size, features), dtype)
    inputs = _ready(images, images.dtype), _ready(indices, _INDEX)
    size = indices.size, launch.threads(features)
    numbers = dtype.type(scale), dtype.type(offset)
    _run("gather_batch", (images.dtype, dtype), *size, *inputs, x, features, *numbers)
    return x


def sigmoid(z: Array) -> Array:
    """See `xpnet.nn.sigmoid`."""
    return _each("sigmoid", z)


def sigmoid_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.sigmoid_backward`."""
    return _each("sigmoid_backward", y, dy)


def relu(z: Array) -> Array:
    """See `xpnet.nn.relu`."""
    return _each("relu", z)


def relu_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.relu_backward`."""
    return _each("relu_backward", y, dy)


def tanh_backward(y: Array, dy: Array) -> Array:
    """See `xpnet.nn.tanh_backward`."""
    return _each("tanh_backward", y, dy)


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


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.softmax_cross_entropy`."""
    dtype, (batch, classes) = logits.dtype, logits.shape
    d_logits = cupy.empty(logits.shape, dtype)
    parts = cupy.empty((batch,), dtype)
    inputs = _ready(logits, dtype), _ready(labels, _INDEX)
    size = batch, launch.threads(classes)
    _run("softmax_cross_entropy", (dtype,), *size, *inputs, d_logits, parts, classes)
    return _mean(parts, batch), d_logits


def sigmoid_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.sigmoid_cross_entropy`."""
    return _loss("sigmoid_cross_entropy", logits, targets)


def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """See `xpnet.nn.squared_error`."""
    return _loss("squared_error", outputs, targets)


def sgd_step(param: Array, grad: Array, lr: float) -> Array:
    """See `xpnet.nn.sgd_step`. The parameter is overwritten."""
    return _step("sgd_step", grad, (param,), lr)[0]


def momentum_step(param: Array, grad: Array, velocity: Array, lr: float, beta: float) -> tuple[Array, ...]:
    """See `xpnet.nn.momentum_step`. The parameter and the velocity are overwritten."""
    return _step("momentum_step", grad, (param, velocity), lr, beta, 1 - beta)


def nesterov_step(param: Array, grad: Array, velocity: Array, lr: float, beta: float) -> tuple[Array, ...]:
    """See `xpnet.nn.nesterov_step`. The parameter and the velocity are overwritten."""
    return _step("nesterov_step", grad, (param, velocity), lr, beta, 1 - beta)


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
    """See `xpnet.nn.adam_step`. The parameter and both moments are overwritten."""
    first = beta1, 1 - beta1, 1 - beta1**step
    second = beta2, 1 - beta2, 1 - beta2**step
    return _step("adam_step", grad, (param, mean, variance), lr, eps, *first, *second)


FUSED = {
    function.__name__: function
    for function in (
        adam_step,
        gather_batch,
        log_softmax,
        log_softmax_backward,
        momentum_step,
        nesterov_step,
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
        tanh_backward,
    )
}
