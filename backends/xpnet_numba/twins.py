"""The portable twins that a step calls while it is recorded and tried, with matrix products of their own.

BLAS would share a product among threads, which spin for 0.1 s after it on the processors that programs need.
How many threads it uses can be set for the whole process only, which would change the bits of products of
other threads meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy

from xpnet import Namespace
from xpnet.standard import completed
from xpnet_numba import layout, machine_code
from xpnet_numba.program import LARGEST_PRODUCT
from xpnet_numba.team import address

Array = Any


def matmul(x1: Array, x2: Array, /) -> Array:
    """Return a matrix product, made by the operation of compiled steps if they would make it so.

    Parameters
    ----------
    x1 : array, shape (rows, inner)
    x2 : array, shape (inner, columns)
    """
    multiply = _operation(x1, x2)
    if multiply is None:
        return numpy.matmul(x1, x2)
    (rows, inner), columns = x1.shape, x2.shape[1]
    is_transposed = not x1.flags.c_contiguous
    left = numpy.asarray(x1.T if is_transposed else x1, order="C")
    right = numpy.asarray(x2, order="C")
    out = numpy.empty((rows, columns), x1.dtype)
    steps = (1, rows) if is_transposed else (inner, 1)  # of the left factor's rows and columns
    details = numpy.zeros(layout.OPERANDS + layout.SIZES, numpy.int64)
    details[:4] = 0, 1, 1, 2  # left, right, no bias, product
    details[layout.OPERANDS :][:4] = columns, inner, *steps
    numbers = numpy.zeros(layout.NUMBERS, x1.dtype)
    slots = numpy.array([address(left), address(right), address(out)], numpy.int64)
    multiply(address(details), address(numbers), address(slots), 0, rows, 0.0)
    return out


def _operation(x1: Array, x2: Array) -> Any:
    """Return the operation that multiplies matrices like these; None if there is none."""
    if (x1.ndim, x2.ndim) != (2, 2) or x1.dtype != x2.dtype or x1.dtype not in ("float32", "float64"):
        return None
    (rows, inner), (others, columns) = x1.shape, x2.shape
    if inner != others or not 0 < rows * inner * columns <= LARGEST_PRODUCT:
        return None
    try:
        return machine_code.function("multiply", x1.dtype, 5)
    except Exception:  # Whatever hinders programs is reported when one is made.
        return None


xp = Namespace("numba", completed(numpy, matmul=matmul))
