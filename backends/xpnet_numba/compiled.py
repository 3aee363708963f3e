"""How the code of this package is compiled.

Every kernel is serial: its results cannot depend on the number of threads.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])

# A product and a sum may become one instruction; nan, infinities and the order of operations stay
# as written. Division by zero raises nothing, because the check keeps a loop from becoming vectors.
FLAGS: Any = {"error_model": "numpy", "fastmath": {"contract"}}

_kernels: list[Any] = []


def kernel(function: Function) -> Function:
    """Decorate what Python calls: compiled on the first call with new dtypes, and kept on disk."""
    compiled = numba.njit(cache=True, nogil=True, **FLAGS)(function)
    _kernels.append(compiled)
    return compiled


part: Callable[[Function], Function] = numba.njit(**FLAGS)
"""Decorate what kernels call."""


@numba.njit(fastmath={"contract", "reassoc"})
def add(total: Any, term: Any) -> Any:
    """Return the sum; in a loop of these LLVM may keep partial sums, and so make vectors of it."""
    return total + term


def advice() -> list[str]:
    """Return what a person may want to know of threads, of the cache and of SVML, a line each."""
    found = "in use" if getattr(config, "USING_SVML", False) else "not found"
    return [
        "threads: the kernels are serial, only BLAS uses several",
        _tell_cache(),
        f"SVML: {found}, which changes nothing: the kernels' loops have an exp and a log1p of their own",
    ]


def _tell_cache() -> str:
    folder = _kernels[0].stats.cache_path
    kept, all_ = sum(map(_is_kept, _kernels)), len(_kernels)
    if kept == all_:
        return f"cache: warm, {kept} of {all_} kernels in {folder}"
    # The probe has compiled one. 6 more took 1.5 s before a first training, on 2 cores of an AMD EPYC.
    state = "cold" if kept <= 1 else "partly warm"
    return (
        f"cache: {state}, {kept} of {all_} kernels in {folder}; each other one takes 0.3 s at its first use"
    )


def _is_kept(compiled: Any) -> bool:
    """Return whether Numba has an index file for this kernel, on the line where it stands now."""
    function = compiled.py_func
    module, line = function.__module__.rpartition(".")[2], function.__code__.co_firstlineno
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    pattern = f"{module}.{function.__qualname__}-{line}.{python}*.nbi"
    return any(pathlib.Path(compiled.stats.cache_path).glob(pattern))
