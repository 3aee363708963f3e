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
    positional = sum(p.kind is not p.KEYWORD_ONLY for p in signature.parameters.values())

    @functools.wraps(kernel)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) != positional:
            bound = signature.bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        numbers = [*args[count:], *(value for key, value in kwargs.items() if key != "dtype")]
        ours = _NUMBERS.issuperset(map(type, numbers)) and _fit(function, args[:count])
        return (kernel if ours else twin)(*args, **kwargs)

    return call


def _fit(function: nn.Function, arrays: Sequence[Array]) -> bool:
    """Return whether kernels take these arrays, which hold something and are as they are declared."""
    lengths: dict[Any, Any] = {}
    for x, form in zip(arrays, function.arrays.values(), strict=True):
        if type(x) not in _ARRAYS or x.dtype not in _DTYPES[form.kind] or not (x.flags.aligned and x.size):
            return False
        axes, shape = (form.axes, x.shape) if form.axes is not None else (("*",), (x.shape,))
        known = [*zip(axes, shape, strict=False), *([(float, x.dtype)] if form.kind == "float" else [])]
        if len(axes) != len(shape) or any(lengths.setdefault(key, found) != found for key, found in known):
            return False
    return not function.changed or _can_be_changed(function, arrays)


def _can_be_changed(function: nn.Function, arrays: Sequence[Array]) -> bool:
    # What is not row by row would be copied, and the copies changed in the place of the arrays.
    return all(
        x.flags.c_contiguous and x.flags.writeable
        for x, form in zip(arrays, function.arrays.values(), strict=True)
        if form.changed
        # One element after the other, a kernel would read what it has changed.
    ) and not any(itertools.starmap(numpy.may_share_memory, itertools.combinations(arrays, 2)))
