"""Which arrays kernels take; given any others, a function is its portable twin, which NumPy carries out.

Compiled code trusts shapes, and knows no float16, no foreign byte order and no memory that is not aligned.
"""

import functools
import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import numpy

from xpnet import nn

Array = Any

FLOATS = frozenset(map(numpy.dtype, ("float32", "float64")))
_DTYPES = {
    "float": FLOATS,
    "stored": FLOATS | {numpy.dtype("uint8")},
    "int": frozenset(numpy.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
_ARRAYS = (numpy.ndarray, numpy.memmap)
_NUMBERS = frozenset((bool, int, float, numpy.float32, numpy.float64))


def falls_back(kernel: Any) -> Any:
    """Decorate the kernel of a function of `nn`: its twin takes what does not fit the declaration."""
    function = nn.FUNCTIONS[kernel.__name__]
    twin = numpy.errstate(under="ignore")(functools.partial(function.twin, numpy))
    signature = inspect.signature(kernel)
    count = len(function.arrays)
    positions = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    needed, most = sum(p.default is p.empty for p in positions), len(positions)

    of_floats = function.is_elementwise and all(form.kind == "float" for form in function.arrays.values())
    fits = _are_alike if of_floats else functools.partial(_fit, function)

    @functools.wraps(kernel)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not needed <= len(args) <= most or (kwargs and len(args) < most):  # Binding takes 3 us.
            bound = signature.bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        arrays, types = args[:count], map(type, args[count:])
        if kwargs:
            types = map(type, (*args[count:], *(value for key, value in kwargs.items() if key != "dtype")))
        ours = (
            fits(arrays)
            and _NUMBERS.issuperset(types)
            and (not function.changed or _can_be_changed(function, arrays))
        )
        return (kernel if ours else twin)(*args, **kwargs)

    return call


def _are_alike(arrays: Sequence[Array]) -> bool:
    """Return what `_fit` returns for an elementwise function of floats, in a third of the time."""
    first = arrays[0]
    if type(first) not in _ARRAYS or first.dtype not in FLOATS or not first.size:
        return False
    shape, dtype = first.shape, first.dtype
    for x in arrays:
        if type(x) not in _ARRAYS or x.shape != shape or x.dtype != dtype or not x.flags.aligned:
            return False
    return True


def _fit(function: nn.Function, arrays: Sequence[Array]) -> bool:
    """Return whether kernels take these arrays, which hold something and are as they are declared."""
    lengths: dict[Any, Any] = {}
    for x, form in zip(arrays, function.arrays.values(), strict=True):
        if type(x) not in _ARRAYS or x.dtype not in _DTYPES[form.kind] or not (x.flags.aligned and x.size):
            return False
        own = form.lengths(x.shape)
        if own is None or (form.kind == "float" and lengths.setdefault(float, x.dtype) != x.dtype):
            return False
        for axis, length in own:
            if lengths.setdefault(axis, length) != length:
                return False
    return True


def _can_be_changed(function: nn.Function, arrays: Sequence[Array]) -> bool:
    # What is not row by row would be copied, and the copies changed in the place of the arrays.
    return all(
        x.flags.c_contiguous and x.flags.writeable
        for x, form in zip(arrays, function.arrays.values(), strict=True)
        if form.changed
        # One element after the other, a kernel would read what it has changed.
    ) and not any(itertools.starmap(numpy.may_share_memory, itertools.combinations(arrays, 2)))
