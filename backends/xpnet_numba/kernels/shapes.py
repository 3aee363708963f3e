"""The sum of two paths through a model."""

from typing import Any

from xpnet_numba.kernels.formulas import elementwise

Scalar = Any


@elementwise
def add(x: Scalar, y: Scalar) -> Scalar:
    """Return ``x + y``."""
    return x + y
