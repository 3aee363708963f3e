"""The norm of gradients, and gradients with a smaller one."""

from typing import Any

from xpnet.nn.declaration import function

Array = Any

_ADDED = 1e-6


@function("grad: * -> total: ()")
def sum_of_squares(xp: Any, grad: Array) -> Array:
    """Return the sum of the squares of all numbers of a gradient.

    Parameters
    ----------
    grad : array, any shape, float

    Returns
    -------
    total : array, shape ()
    """
    return xp.sum(grad * grad)


@function("grad: *, squares: float[0 inf] () -> clipped: *")
def clip_by_norm(xp: Any, grad: Array, squares: Array, limit: float) -> Array:
    """Return ``grad * min(1, limit / (sqrt(squares) + 1e-6))``, as `torch.nn.utils.clip_grad_norm_` has it.

    Parameters
    ----------
    grad : array, any shape, float
    squares : array, shape ()
        The sum of the squares of all gradients; the norm is its root.
    limit : float
        The largest norm, above 0.

    Returns
    -------
    clipped : array, shape of `grad`
    """
    factor = limit / (xp.sqrt(squares) + _ADDED)
    factor = xp.where(factor > 1, xp.ones_like(factor), factor)
    return grad * xp.astype(factor, grad.dtype, copy=False)
