"""Gathering a batch, and the gradients of the linear map."""

from typing import Any

import numba
import numpy

from xpnet import nn
from xpnet_numba.kernels.accepted import FLOATS, falls_back
from xpnet_numba.kernels.compiled import kernel, part

Array = Any


@falls_back
def gather_batch(images: Array, indices: Array, *, scale: float, offset: float, dtype: Any) -> Array:
    """Return ``images[indices] * scale + offset`` in a floating-point dtype."""
    x = numpy.empty((indices.shape[0], *images.shape[1:]), dtype)
    if x.dtype in FLOATS and (images.ndim == 2 or images.flags.c_contiguous):
        rows, made = (images, x) if x.ndim == 2 else (y.reshape(len(y), -1) for y in (images, x))
        in_range = gather_into(rows, indices, x.dtype.type(scale), x.dtype.type(offset), made)
        if in_range or not numba.config.BOUNDSCHECK:
            return x
    # The twin takes other dtypes and layouts, and raises an error if an index is out of range.
    return nn.gather_batch(numpy, images, indices, scale=scale, offset=offset, dtype=dtype)


@falls_back
@numpy.errstate(under="ignore")
def linear_backward(
    x: Array, weight: Array, dy: Array, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of ``linear(x, weight, bias)``."""
    dx = numpy.matmul(dy, weight.T) if input_gradient else None
    d_bias = numpy.empty(dy.shape[1], dy.dtype)
    sum_rows_into(dy, d_bias)
    return dx, numpy.matmul(x.T, dy), d_bias


@part
def row_of(index: Any, n: int) -> Any:
    """Return the row of `n` that an index means; a negative one counts from the end.

    Out of range it is the nearest row: a program cannot raise an error, and must not read past an array.
    """
    row: Any = numpy.int64(index)
    # One comparison: without its sign, a negative number is a large one.
    if numpy.uint64(row) >= numpy.uint64(n):
        row = min(max(row + n if row < 0 else row, 0), n - 1)
    return row


@kernel
def gather_into(images: Array, indices: Array, scale: float, offset: float, out: Array) -> bool:
    """Fill `out` with rows of `images`, scaled, and return whether all indices were in range."""
    real, n, in_range = out.dtype.type, images.shape[0], True
    for i in range(out.shape[0]):
        row = row_of(indices[i], n)
        in_range &= indices[i] < n and indices[i] >= -n
        for j in range(out.shape[1]):
            out[i, j] = real(images[row, j]) * scale + offset
    return in_range


@kernel
def sum_rows_into(x: Array, out: Array) -> None:
    """Fill `out` with the sum of the rows of `x`."""
    out[:] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j] += x[i, j]
