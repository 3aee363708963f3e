"""Which arrays the kernels take; with any others, a function is its portable twin, which NumPy carries out.

Compiled code trusts shapes, and knows no float16, no foreign byte order and no memory that is not aligned.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy

from xpnet import nn

Array = Any

FLOATS = frozenset(map(numpy.dtype, ("float32", "float64")))
STORED = FLOATS | {numpy.dtype("uint8")}
WHOLE = frozenset(numpy.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))
_TYPES = (numpy.ndarray, numpy.memmap)
_NUMBERS = frozenset((bool, int, float, numpy.float32, numpy.float64))


def falls_back(takes: Callable[..., bool]) -> Callable[[Any], Any]:
    """Decorate a function with kernels: where `takes` is false of its arrays, its twin is called."""

    def decorate(function: Any) -> Any:
        twin = numpy.errstate(under="ignore")(functools.partial(getattr(nn, function.__name__), numpy))
        signature = inspect.signature(function)
        arrays = len(inspect.signature(takes).parameters)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(args) < arrays:
                bound = signature.bind(*args, **kwargs)
                args, kwargs = bound.args, bound.kwargs
            numbers = [*args[arrays:], *(value for key, value in kwargs.items() if key != "dtype")]
            ours = takes(*args[:arrays]) and _NUMBERS.issuperset(map(type, numbers))
            return (function if ours else twin)(*args, **kwargs)

        return call

    return decorate


def is_plain(x: Array, dtypes: frozenset[Any] = FLOATS) -> bool:
    """Return whether this is an array of such a dtype that compiled code can read."""
    return type(x) in _TYPES and x.dtype in dtypes and x.flags.aligned


def one(x: Array) -> bool:
    """Return whether kernels take this array of floats."""
    return is_plain(x)


def two(x: Array, y: Array) -> bool:
    """Return whether kernels take these arrays of floats, equal in shape and dtype."""
    return is_plain(x) and is_plain(y) and x.shape == y.shape and x.dtype == y.dtype


def two_of_some(x: Array, y: Array) -> bool:
    """Return the same, but false where there is nothing of which to take the mean."""
    return two(x, y) and x.size > 0


def one_matrix(x: Array) -> bool:
    """Return whether kernels take this matrix of floats: they begin with the first element of a row."""
    return is_plain(x) and x.ndim == 2 and x.shape[1] > 0


def two_matrices(x: Array, y: Array) -> bool:
    """Return whether kernels take these matrices of floats, equal in shape and dtype."""
    return two(x, y) and one_matrix(x)


def labelled(logits: Array, labels: Array) -> bool:
    """Return whether kernels take this matrix of floats with a whole number for each row."""
    return one_matrix(logits) and is_plain(labels, WHOLE) and labels.shape == logits.shape[:1]


def gathered(images: Array, indices: Array) -> bool:
    """Return whether kernels take this matrix, as it is stored, and the whole numbers of rows."""
    return (
        is_plain(images, STORED)
        and images.ndim == 2
        and images.shape[0] > 0
        and is_plain(indices, WHOLE)
        and indices.ndim == 1
    )


def factors(x: Array, weight: Array, dy: Array) -> bool:
    """Return whether kernels take these three matrices of a linear map."""
    return (
        all(is_plain(a) and a.ndim == 2 for a in (x, weight, dy))
        and x.dtype == weight.dtype == dy.dtype
        and x.shape == (dy.shape[0], weight.shape[0])
        and dy.shape[1] == weight.shape[1]
    )


def parameter(param: Array, grad: Array) -> bool:
    """Return whether kernels take this parameter, to change it, and its gradient."""
    return _can_be_changed(grad, param)


def with_velocity(param: Array, grad: Array, velocity: Array) -> bool:
    """Return whether kernels take these, to change all but the gradient."""
    return _can_be_changed(grad, param, velocity)


def with_moments(param: Array, grad: Array, mean: Array, variance: Array) -> bool:
    """Return whether kernels take these, to change all but the gradient."""
    return _can_be_changed(grad, param, mean, variance)


def _can_be_changed(grad: Array, *arrays: Array) -> bool:
    # What is not row by row would be copied, and the copies changed in the place of the arrays.
    return (
        all(two(grad, x) and x.flags.c_contiguous and x.flags.writeable for x in arrays)
        # One element after the other, a kernel would read what it has changed.
        and not any(itertools.starmap(numpy.may_share_memory, itertools.combinations((grad, *arrays), 2)))
    )
