"""The norm of gradients, and gradients with a smaller one."""

from typing import Any

from xpnet.nn.declaration import function

Array = Any

_ADDED = 1e-6


@function("x: * -> total: ()")
def sum_of_squares(xp: Any, x: Array) -> Array:
    """Return the sum of the squares of all numbers of an array.

    Parameters
    ----------
    x : array, any shape, float

    Returns
    -------
    total : array, shape ()
    """
    return xp.sum(x * x)


@function("x: *, squares: float[0 inf] () -> clipped: *")
def clip_by_norm(xp: Any, x: Array, squares: Array, limit: float) -> Array:
    """Return ``x * min(1, limit / (sqrt(squares) + 1e-6))``, as `torch.nn.utils.clip_grad_norm_` has it.

    Parameters
    ----------
    x : array, any shape, float
    squares : array, shape ()
        The sum of the squares of all gradients; the norm is its root.
    limit : float
        The largest norm, above 0.

    Returns
    -------
    clipped : array, shape of `x`
    """
    factor = limit / (xp.sqrt(squares) + _ADDED)
    factor = xp.where(factor > 1, xp.ones_like(factor), factor)
    return x * xp.astype(factor, x.dtype, copy=False)
