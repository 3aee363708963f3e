"""How the code of this package is compiled."""

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

_functions: list[Any] = []
_kernels: list[Any] = []


def kernel(function: Function) -> Function:
    """Decorate what Python calls: compiled on the first call with new dtypes, and kept on disk."""
    remember(function)
    _kernels.append(numba.njit(cache=True, nogil=True, **FLAGS)(function))
    return _kernels[-1]


def remember(function: Callable[..., Any]) -> None:
    """Count a function among those that are kept on disk."""
    _functions.append(function)


part: Callable[[Function], Function] = numba.njit(**FLAGS)
"""Decorate what kernels call."""

PARTS = 16
"""Into how many parts the rows of a compiled step are divided, however many threads there are."""
THREADS = min(config.NUMBA_NUM_THREADS, PARTS)
"""How many share a compiled step."""


def named(function: Function, name: str) -> Function:
    """Return a function made by another one, with a name that no other one made so has.

    Numba tells compiled functions apart by name and types, and by a number that counts anew in each process:
    of two of one name, code from the disk may be given the wrong one.
    """
    function.__qualname__ += f".{name}"
    return function


@numba.njit(fastmath={"contract", "reassoc"})
def add(total: Any, term: Any) -> Any:
    """Return the sum; in a loop of these LLVM may keep partial sums, and so make vectors of it."""
    return total + term


def advice() -> list[str]:
    """Return what a person may want to know of threads, of the cache and of SVML, a line each."""
    found = "in use" if getattr(config, "USING_SVML", False) else "not found"
    return [
        f"threads: {THREADS} share a compiled step (NUMBA_NUM_THREADS); kernels are serial",
        _tell_cache(),
        f"SVML: {found}, which changes nothing: the kernels' loops have an exp and a log1p of their own",
    ]


def _tell_cache() -> str:
    folder = pathlib.Path(_kernels[0].stats.cache_path)
    kept, all_ = sum(_is_kept(function, folder) for function in _functions), len(_functions)
    if kept == all_:
        return f"cache: warm, {kept} of {all_} kernels in {folder}"
    # The probe has compiled one.
    state = "cold" if kept <= 1 else "partly warm"
    return f"cache: {state}, {kept} of {all_} kernels in {folder}; the others are compiled at their first use"


def _is_kept(function: Callable[..., Any], folder: pathlib.Path) -> bool:
    """Return whether Numba has an index file for this function, on the line where it stands now."""
    module, line = function.__module__.rpartition(".")[2], function.__code__.co_firstlineno
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(folder.glob(f"{module}.{function.__qualname__}-{line}.{python}*.nbi"))
