"""Gradients side by side in one flat array, so that several processes can sum them at once.

A process alone is a group of one, whose sum is what it has. `xpnet.Namespace.with_group` puts the sum over a
group of processes in the place of `all_reduce`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from xpnet.nn.declaration import function

Array = Any
Count = Annotated[int, 0, 5, 64]


def _size(lengths: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    for name in ("before", "after"):
        if not isinstance(given[name], int) or given[name] < 0:
            raise ValueError(f"`{name}` must be a whole number, 0 or more, got {given[name]!r}")
    return int(given["before"] + math.prod(lengths["*"]) + given["after"])


@function("flat!: size, x: * -> size", computed={"size": _size}, mixes_rows=True)
def pack(xp: Any, flat: Array, x: Array, *, before: Count, after: Count) -> Array:
    """Return `flat` with the numbers of `x` in the place that `before` and `after` leave.

    Parameters
    ----------
    flat : array, shape (size,), float
        It may be overwritten; use the one returned.
    x : array, any shape, float
    before, after : int
        How many numbers of `flat` stand before and after those of `x`.

    Returns
    -------
    flat : array, shape (size,)
    """
    x, end = xp.reshape(x, (-1,)), flat.shape[0] - after
    try:
        flat[before:end] = x
    except TypeError:  # Some libraries cannot change arrays.
        return xp.concat([flat[:before], x, flat[end:]])
    return flat


@function("flat: size, x: * -> y: *", computed={"size": _size}, mixes_rows=True)
def unpack(xp: Any, flat: Array, x: Array, *, before: Count, after: Count) -> Array:
    """Return what `pack` put into `flat`, in the shape of `x`; it may share memory with `flat`.

    Parameters
    ----------
    flat : array, shape (size,), float
    x : array, any shape
        Only its shape counts.
    before, after : int

    Returns
    -------
    y : array, shape of `x`
    """
    return xp.reshape(flat[before : flat.shape[0] - after], x.shape)


@function("x!: * -> *", mixes_rows=True)
def all_reduce(xp: Any, x: Array) -> Array:
    """Return the sum of the arrays `x` of all processes of the group, which here is this one.

    Parameters
    ----------
    x : array, any shape, float
        Of the same shape in all processes. It may be overwritten; use the one returned.

    Returns
    -------
    total : array, shape of `x`
        The same in all processes.
    """
    return x


@function("x: *, factor: () -> y: *")
def scaled(xp: Any, x: Array, factor: Array) -> Array:
    """Return ``x * factor``.

    Parameters
    ----------
    x : array, any shape, float
    factor : array, shape ()

    Returns
    -------
    y : array, shape of `x`
    """
    return x * factor
