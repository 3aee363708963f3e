"""How the code of this package is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from xpnet_numba import settings
from xpnet_numba.kernels.cache import Cache

Function = TypeVar("Function", bound=Callable[..., Any])

# A product and a sum may become one instruction; nan, infinities and the order of operations stay
# as written. Division by zero raises nothing, because the check keeps a loop from becoming vectors.
FLAGS: Any = {"error_model": "numpy", "fastmath": {"contract"}}

KEPT = not settings.of_code().keys() - {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"}
"""Whether kernels are kept on disk."""

KERNELS: list[Any] = []
"""What Python calls with arrays."""
ENTRIES: dict[str, Callable[..., None]] = {}
"""What is called by address, by name."""


def kernel(function: Function) -> Function:
    """Decorate what Python calls: compiled on the first call with new dtypes, and kept on disk.

    It is not kept if settings of Numba's change its code.
    """
    compiled = numba.njit(nogil=True, **FLAGS)(function)
    if KEPT:
        compiled._cache = Cache(function)  # As `cache=True` does, which would take Numba's.
    KERNELS.append(compiled)
    return compiled


def entry(function: Function) -> Function:
    """Decorate what is called by address: `machine_code` has it compiled, and keeps it.

    It takes whole numbers and perhaps, as the last argument, `zero`, which tells a floating-point dtype.
    """
    ENTRIES[function.__name__] = function
    return function


part: Callable[[Function], Function] = numba.njit(**FLAGS)
"""Decorate what kernels and entries call."""


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
