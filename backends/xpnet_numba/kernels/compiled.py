"""How the code of this package is compiled."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numba

from xpnet_numba import settings
from xpnet_numba.kernels.cache import Cache

Function = TypeVar("Function", bound=Callable[..., Any])

# A product and a sum may become one instruction; nan, infinities and the order of operations stay as written.
# Division by zero does not raise, because the check would keep LLVM from vectorising a loop.
FLAGS: Any = {"error_model": "numpy", "fastmath": {"contract"}}

KEPT = not settings.of_code().keys() - {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"}
"""Whether kernels are kept on disk."""

KERNELS: list[Any] = []
"""Functions that Python calls with arrays."""
ENTRIES: dict[str, Callable[..., None]] = {}
"""Functions that are called by address, by name."""


def kernel(function: Function) -> Function:
    """Decorate a function that Python calls: compiled at the first call with new dtypes, and kept on disk.

    It is not kept on disk if Numba's settings change its code.
    """
    compiled = numba.njit(nogil=True, **FLAGS)(function)
    if KEPT:
        compiled._cache = Cache(function)  # as `cache=True` does with Numba's own
    KERNELS.append(compiled)
    return compiled


def entry(function: Function) -> Function:
    """Decorate a function that is called by address: `machine_code` compiles and keeps it.

    It takes whole numbers; its last argument may be `zero`, whose type is the floating-point dtype.
    """
    ENTRIES[function.__name__] = function
    return function


part: Callable[[Function], Function] = numba.njit(**FLAGS)
"""Decorate a function that kernels and entries call."""

inlined: Callable[[Function], Function] = numba.njit(inline="always", **FLAGS)
"""Decorate a formula, which becomes part of the loop that calls it: LLVM does not vectorise long calls."""


def named(function: Function, name: str) -> Function:
    """Return a function that another one made, with a unique name.

    Numba distinguishes compiled functions by name, types and a number that starts again in each process: code
    from disk could get the wrong one of two functions of one name.
    """
    function.__qualname__ = f"{function.__name__}.{name}"
    return function


def generated(name: str, parameters: Iterable[str], line: str, **names: Any) -> Callable[..., None]:
    """Return a function of one line of code, which may use `names`.

    Its parameters follow from a declaration. Numba has no better way to take any number of them: arrays in a
    tuple would keep LLVM from vectorising a loop.
    """
    exec(f"def {name}({', '.join(parameters)}):\n    {line}", names)
    return names[name]


@numba.njit(fastmath={"contract", "reassoc"})
def add(total: Any, term: Any) -> Any:
    """Return the sum; LLVM may keep partial sums of a loop of these, and so vectorise it."""
    return total + term
