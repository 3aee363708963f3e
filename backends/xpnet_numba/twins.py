"""The portable twins that a step calls while it is traced and tried, with our own matrix products.

BLAS would share a product among threads, which then spin for 0.1 s on the processors that programs need. Its
number of threads can be set only for the whole process, which would change the bits of other threads'
products meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy

from xpnet import Namespace
from xpnet.standard import completed
from xpnet_numba import machine_code
from xpnet_numba.lowering import LARGEST_PRODUCT
from xpnet_numba.operations import signature
from xpnet_numba.team import address

Array = Any


def matmul(x1: Array, x2: Array, /) -> Array:
    """Return a matrix product, from the operation of compiled steps if they would use it.

    Parameters
    ----------
    x1 : array, shape (rows, inner)
    x2 : array, shape (inner, columns)
    """
    multiply = _operation(x1, x2)
    if multiply is None:
        return numpy.matmul(x1, x2)
    transposed = not x1.flags.c_contiguous
    arrays = {
        "left": numpy.asarray(x1.T if transposed else x1, order="C"),
        "right": numpy.asarray(x2, order="C"),
        "bias": numpy.empty(0, x1.dtype),  # none
        "out": numpy.empty((x1.shape[0], x2.shape[1]), x1.dtype),
    }
    rows, sizes = signature("multiply_transposed" if transposed else "multiply").divide(arrays, x1.dtype)
    whole = numpy.array([*range(len(arrays)), *sizes], numpy.int64)
    numbers = numpy.array([transposed], x1.dtype)
    slots = numpy.array([*map(address, arrays.values())], numpy.int64)
    multiply(address(whole), address(numbers), address(slots), 0, rows, 0.0)
    return arrays["out"]


def _operation(x1: Array, x2: Array) -> Any:
    """Return the operation that multiplies matrices like these; None if there is none."""
    if (x1.ndim, x2.ndim) != (2, 2) or x1.dtype != x2.dtype or x1.dtype not in ("float32", "float64"):
        return None
    (rows, inner), (others, columns) = x1.shape, x2.shape
    if inner != others or not 0 < rows * inner * columns <= LARGEST_PRODUCT:
        return None
    try:
        return machine_code.function("multiply", x1.dtype, 5)
    except Exception:  # Reported when a program is made.
        return None


xp = Namespace("numba", completed(numpy, matmul=matmul))


def of(other: Namespace) -> Namespace:
    """Return the twins in the place of a namespace's functions, with the sums over its group."""
    return xp if other.group is None else xp.with_group(other.group)
