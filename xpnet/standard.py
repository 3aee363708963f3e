"""`NUMPY`: NumPy with the functions of the array API that it lacks, or has with other parameters.

`array_api_compat.numpy` has them all too, but takes 0.06 s to import, because it imports all of NumPy.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy

Array = Any
DType = Any


def completed(library: types.ModuleType, **names: Any) -> types.ModuleType:
    """Return a module with the public names of `library`, except for `names`, which are added or replaced.

    Names that the library creates on demand are found when they are used.
    """
    module = types.ModuleType(library.__name__, library.__doc__)
    vars(module).update((k, v) for k, v in vars(library).items() if not k.startswith("_"))
    vars(module).update(names, __getattr__=functools.partial(getattr, library))
    return module


def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Return a sorted copy of `x`."""
    from array_api_compat.common import _aliases

    return _aliases.sort(x, xp=numpy, axis=axis, descending=descending, stable=stable)


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Return the indices that sort `x`; if `stable`, those of equal elements are in ascending order."""
    from array_api_compat.common import _aliases

    return _aliases.argsort(x, xp=numpy, axis=axis, descending=descending, stable=stable)


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """Return `x` with no element below `min` or above `max`, in the dtype of `x`."""
    # Not array-api-compat's, which writes to bounds that the dtype of `x` cannot hold.
    dtype = numpy.asarray(x).dtype
    return numpy.clip(x, _bound(min, dtype), _bound(max, dtype))


def _bound(bound: Any, dtype: DType) -> Any:
    """Return the bound nearest to `bound` that does not promote `dtype`."""
    if bound is None or type(bound) is int or (type(bound) is float and dtype.kind == "f"):
        return bound
    bound = numpy.asarray(bound)
    if bound.dtype != dtype and dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        bound = numpy.clip(bound, limits.min, limits.max)
    with numpy.errstate(over="ignore"):  # Bounds beyond float32 become infinite.
        return bound.astype(dtype, copy=False)


def finfo(type: Any, /) -> types.SimpleNamespace:
    """Return the limits of a floating-point dtype, or of an array's, as Python numbers."""
    info = numpy.finfo(_dtype(type))
    return types.SimpleNamespace(
        bits=info.bits,
        eps=float(info.eps),
        max=float(info.max),
        min=float(info.min),
        smallest_normal=float(info.smallest_normal),
        dtype=info.dtype,
    )


def iinfo(type: Any, /) -> Any:
    """Return the limits of an integer dtype, or of an array's."""
    return numpy.iinfo(_dtype(type))


def _dtype(type: Any) -> DType:
    return type.dtype if isinstance(type, numpy.ndarray | numpy.generic) else type


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType = None, device: Any = None) -> Array:
    """Return the frequencies of `fft`, shape (n,)."""
    from array_api_compat.common import _fft

    return _fft.fftfreq(n, xp=numpy, d=d, dtype=dtype, device=device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType = None, device: Any = None) -> Array:
    """Return the frequencies of `rfft`, shape (n // 2 + 1,)."""
    from array_api_compat.common import _fft

    return _fft.rfftfreq(n, xp=numpy, d=d, dtype=dtype, device=device)


class _Fft:
    """`numpy.fft`, which NumPy imports at its first use, with the functions above."""

    fftfreq = staticmethod(fftfreq)
    rfftfreq = staticmethod(rfftfreq)

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy.fft, name)

    def __dir__(self) -> list[str]:
        return dir(numpy.fft)


NUMPY = completed(numpy, argsort=argsort, clip=clip, fft=_Fft(), finfo=finfo, iinfo=iinfo, sort=sort)
