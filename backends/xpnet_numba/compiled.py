"""How the code of this package is compiled.

Every kernel is serial: its results cannot depend on the number of threads.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# A product and a sum may become one instruction; nan, infinities and the order of operations stay
# as written. Division by zero raises nothing, because the check keeps a loop from becoming vectors.
FLAGS: Any = {"error_model": "numpy", "fastmath": {"contract"}}

kernel: Callable[[Function], Function] = numba.njit(cache=True, nogil=True, **FLAGS)
"""Decorate what Python calls: compiled on the first call with new dtypes, and kept on disk."""

part: Callable[[Function], Function] = numba.njit(**FLAGS)
"""Decorate what kernels call."""


@numba.njit(fastmath={"contract", "reassoc"})
def add(total: Any, term: Any) -> Any:
    """Return the sum; in a loop of these LLVM may keep partial sums, and so make vectors of it."""
    return total + term
