"""Gathering a batch, and the gradients of the linear map."""

from typing import Any

import numpy

from xpnet_numba.kernels.compiled import kernel

Array = Any


def gather_batch(images: Array, indices: Array, *, scale: float, offset: float, dtype: Any) -> Array:
    """Return ``images[indices] * scale + offset`` in a floating-point dtype."""
    x = numpy.empty((indices.shape[0], images.shape[1]), dtype)
    gather_into(images, indices, x.dtype.type(scale), x.dtype.type(offset), x)
    return x


@numpy.errstate(under="ignore")
def linear_backward(
    x: Array, weight: Array, dy: Array, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of ``linear(x, weight, bias)``."""
    dx = numpy.matmul(dy, weight.T) if input_gradient else None
    d_bias = numpy.empty(dy.shape[1], dy.dtype)
    sum_rows_into(dy, d_bias)
    return dx, numpy.matmul(x.T, dy), d_bias


@kernel
def gather_into(images: Array, indices: Array, scale: float, offset: float, out: Array) -> None:
    """Fill `out` with rows of `images`, scaled."""
    real = out.dtype.type
    for i in range(out.shape[0]):
        row = indices[i]
        for j in range(out.shape[1]):
            out[i, j] = real(images[row, j]) * scale + offset


@kernel
def sum_rows_into(x: Array, out: Array) -> None:
    """Fill `out` with the sum of the rows of `x`."""
    out[:] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j] += x[i, j]
