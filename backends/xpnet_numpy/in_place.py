"""Functions of `xpnet.nn` that write their results where they are told to: what compiled steps call.

Each takes the arrays that its portable twin takes, then the arrays for its results, then the twin's other
arguments. Those that are no faster so are left out.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy

from xpnet import nn
from xpnet_numpy import normalisation, synchronised

Array = Any


def gather_labels(labels: Array, indices: Array, gathered: Array) -> None:
    """See `xpnet.nn.gather_labels`."""
    numpy.copyto(gathered, labels.take(indices, axis=0))


def gather_batch(images: Array, indices: Array, x: Array, *, scale: float, offset: float, dtype: Any) -> None:
    """See `xpnet.nn.gather_batch`."""
    numpy.copyto(x, images.take(indices, axis=0), casting="same_kind")
    if scale != 1.0:
        x *= scale
    if offset != 0.0:
        x += offset


def linear(x: Array, weight: Array, bias: Array, z: Array) -> None:
    """See `xpnet.nn.linear`."""
    numpy.matmul(x, weight, out=z)
    z += bias


def linear_backward(x: Array, weight: Array, dy: Array, *gradients: Array, input_gradient: bool) -> None:
    """See `xpnet.nn.linear_backward`; there are two gradients where that of the input is not wanted."""
    *dx, d_weight, d_bias = gradients
    if dx:
        numpy.matmul(dy, weight.T, out=dx[0])
    numpy.matmul(x.T, dy, out=d_weight)
    numpy.matmul(_ones(len(dy), dy.dtype), dy, out=d_bias)  # sum of rows; faster as a GEMM


@functools.lru_cache(8)
def _ones(n: int, dtype: Any) -> Array:
    return numpy.ones(n, dtype)


def sigmoid(z: Array, y: Array) -> None:
    """See `xpnet.nn.sigmoid`."""
    # So that exp() does not overflow: from 80 on, the quotient is 1. minimum() takes as long as exp().
    if not numpy.maximum.reduce(z, axis=None, initial=0) <= 80:
        z = numpy.minimum(z, 80)
    numpy.exp(z, out=y)
    numpy.divide(y, 1 + y, out=y)


def sigmoid_backward(y: Array, dy: Array, dz: Array) -> None:
    """See `xpnet.nn.sigmoid_backward`."""
    numpy.subtract(1, y, out=dz)
    dz *= y
    dz *= dy


def gelu(z: Array, y: Array) -> None:
    """See `xpnet.nn.gelu`."""
    _normal_cdf(numpy.clip(z, -32, 32), y)
    y *= z


def gelu_backward(z: Array, dy: Array, dz: Array) -> None:
    """See `xpnet.nn.gelu_backward`."""
    z = numpy.clip(z, -32, 32)
    s = numpy.empty_like(z)
    _normal_cdf(z, s)
    numpy.multiply(z, 3 * nn.GELU_BEND, out=dz)
    dz *= z
    dz += nn.GELU_SLOPE
    _times_slope(z, s, dz, dy)


def _normal_cdf(z: Array, s: Array) -> None:
    u = z * nn.GELU_BEND
    u *= z
    u += nn.GELU_SLOPE
    u *= z
    sigmoid(u, s)


def silu(z: Array, y: Array) -> None:
    """See `xpnet.nn.silu`."""
    sigmoid(z, y)
    y *= z


def silu_backward(z: Array, dy: Array, dz: Array) -> None:
    """See `xpnet.nn.silu_backward`."""
    s = numpy.empty_like(z)
    sigmoid(z, s)
    dz[...] = 1
    _times_slope(numpy.clip(z, -1000, 1000), s, dz, dy)


def _times_slope(z: Array, s: Array, dz: Array, dy: Array) -> None:
    """Multiply ``s (1 + z (1 - s) dz)`` by `dy`, in place of `dz`, the slope of the sigmoid's argument."""
    dz *= z
    dz *= 1 - s
    dz += 1
    dz *= s
    dz *= dy


def dropout(x: Array, y: Array, *, key: int, step: int, rate: float, first: int) -> None:
    """See `xpnet.nn.dropout`."""
    numpy.multiply(x, x.dtype.type(1 / (1 - rate)), out=y)
    numpy.copyto(y, 0, where=_dropped(x.shape, first, key, step % 2**32, nn.drop_below(rate)))


def dropout_backward(dy: Array, dx: Array, *, key: int, step: int, rate: float, first: int) -> None:
    """See `xpnet.nn.dropout_backward`."""
    dropout(dy, dx, key=key, step=step, rate=rate, first=first)


@functools.lru_cache(8)
def _dropped(shape: tuple[int, ...], first: int, key: int, step: int, below: int) -> Array:
    """Return what `nn.dropout` drops, which its gradient will need again."""
    block, before = divmod(first, 4)
    end = before + math.prod(shape)
    # The first and the third word, and the others, of as many counters as there are columns.
    x, y = numpy.zeros((2, 2, -(-end // 4)), numpy.uint64)
    x[0], x[1] = numpy.arange(block, block + x.shape[1]), step
    multipliers = numpy.array(nn.MULTIPLIERS, numpy.uint64)[:, None]
    for keys in numpy.array(nn.round_keys(key), numpy.uint64)[:, :, None]:
        products = (x * multipliers)[::-1]
        x = products >> numpy.uint64(32)
        x ^= y
        x ^= keys
        y = products & numpy.uint64(nn.WORD)
    words = x[0], y[0], x[1], y[1]
    return numpy.stack([word < below for word in words], axis=1).reshape(-1)[before:end].reshape(shape)


def softmax_cross_entropy(logits: Array, labels: Array, loss: Array, d_logits: Array) -> None:
    """See `xpnet.nn.softmax_cross_entropy`."""
    batch, classes = logits.shape
    labels = labels.astype(numpy.intp)
    # As numbers without a sign, negative ones are the largest. Such labels are rare, so the twin takes them.
    if numpy.maximum.reduce(labels.view(numpy.uintp), initial=0) >= classes:
        loss[()], d_logits[...] = nn.softmax_cross_entropy(numpy, logits, labels)
        return
    # NumPy reduces short rows one by one, but columns all at once.
    e = numpy.array(logits, order="F" if classes < 64 else "C")
    largest = numpy.maximum.reduce(e, axis=1)
    e -= largest[:, None]
    numpy.exp(e, out=e)
    total = numpy.add.reduce(e, axis=1)
    at_label = _begins(batch, classes) + labels
    log_p = logits.ravel().take(at_label)
    log_p -= largest
    log_p -= numpy.log(total)
    loss[()] = numpy.add.reduce(log_p) / -batch
    total *= batch
    numpy.divide(e, total[:, None], out=d_logits)
    d_logits.ravel()[at_label] -= 1 / batch


@functools.lru_cache(8)
def _begins(rows: int, columns: int) -> Array:
    """Return where the rows of a matrix begin among its elements, row by row."""
    return numpy.arange(0, rows * columns, columns)


def relu_backward(y: Array, dy: Array, dz: Array) -> None:
    """See `xpnet.nn.relu_backward`."""
    keep_where(y > 0, dy, dz)


def keep_where(is_kept: Array, x: Array, out: Array) -> None:
    """Fill `out` with the elements of `x` that are kept, else with 0."""
    # By bits: NumPy's functions with conditions take three times as long, and a product with 0 may be nan.
    word = numpy.dtype(f"i{x.itemsize}")
    mask = is_kept.astype(word)
    numpy.negative(mask, out=mask)
    numpy.bitwise_and(x.view(word), mask, out=out.view(word))


def leaky_relu(z: Array, y: Array, *, slope: float) -> None:
    """See `xpnet.nn.leaky_relu`."""
    numpy.multiply(z, slope, out=y)
    numpy.copyto(y, z, where=z > 0)


def leaky_relu_backward(z: Array, dy: Array, dz: Array, *, slope: float) -> None:
    """See `xpnet.nn.leaky_relu_backward`."""
    numpy.multiply(dy, slope, out=dz)
    numpy.copyto(dz, dy, where=z > 0)


def add(x: Array, y: Array, z: Array) -> None:
    """See `xpnet.nn.add`."""
    numpy.add(x, y, out=z)


def scaled(x: Array, factor: Array, y: Array) -> None:
    """See `xpnet.nn.scaled`."""
    numpy.multiply(x, factor, out=y)


def clip_by_norm(grad: Array, squares: Array, clipped: Array, *, limit: float) -> None:
    """See `xpnet.nn.clip_by_norm`."""
    factor = limit / (numpy.sqrt(squares) + 1e-6)
    numpy.multiply(grad, 1 if factor > 1 else factor, out=clipped)


FUNCTIONS = {
    name: function
    for module in (vars(), vars(normalisation), vars(synchronised))
    for name, function in module.items()
    if name in nn.FUNCTIONS
}
