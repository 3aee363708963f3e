"""Batch normalisation over the rows of several processes, each of which has some rows of a batch.

    sums = xp.nn.all_reduce(xp.nn.batch_sums(x))
    mean, squares = xp.nn.batch_squares(x, sums)
    variance, unbiased = xp.nn.batch_variances(xp.nn.all_reduce(squares), sums)
    y = xp.nn.batch_norm(x, scale, shift, mean, variance, eps=eps)

    d_scale, d_shift, slopes = xp.nn.batch_norm_slopes(x, mean, variance, dy, eps=eps)
    slopes = xp.nn.all_reduce(slopes)
    dx = xp.nn.batch_norm_shared_backward(x, scale, mean, variance, dy, slopes, sums, eps=eps)

The variance takes two passes, and so two sums over the processes: mean squares around 0 cancel if the mean is
large (Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983). A row is an example
with its features, or a pixel of an image with its channels.
"""

import math
from collections.abc import Mapping
from typing import Any

from xpnet.nn.declaration import function

Array = Any


def _entries(lengths: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    return int(lengths["channels"] + 1)


def _pair(lengths: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    return 2


@function("x: batch ... channels -> sums: entries", computed={"entries": _entries}, mixes_rows=True)
def batch_sums(xp: Any, x: Array) -> Array:
    """Return the sum of each channel over all rows, and then the number of rows.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float

    Returns
    -------
    sums : array, shape (channels + 1,)
    """
    rows = xp.full((1,), math.prod(x.shape[:-1]), dtype=x.dtype)
    return xp.concat([_sum(xp, x), rows])


@function(
    "x: batch ... channels, sums: float[1 inf] entries -> mean: channels, squares: channels",
    computed={"entries": _entries},
    mixes_rows=True,
)
def batch_squares(xp: Any, x: Array, sums: Array) -> tuple[Array, Array]:
    """Return the mean of each channel over all processes, and the sum of the squares around it here.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    sums : array, shape (channels + 1,)
        Those of `batch_sums`, summed over all processes.

    Returns
    -------
    mean : array, shape (channels,)
    squares : array, shape (channels,)
    """
    mean = sums[:-1] / sums[-1]
    centred = x - mean
    return mean, _sum(xp, centred * centred)


@function(
    "squares: float[0 inf] channels, sums: float[1 inf] entries"
    " -> variance: float[0 inf] channels, unbiased: float[0 inf] channels",
    computed={"entries": _entries},
    mixes_rows=True,
)
def batch_variances(xp: Any, squares: Array, sums: Array) -> tuple[Array, Array]:
    """Return the mean of the squares over n rows, and the unbiased estimate, n / (n - 1) times it.

    Parameters
    ----------
    squares : array, shape (channels,)
        Those of `batch_squares`, summed over all processes.
    sums : array, shape (channels + 1,)
        Those of `batch_sums`, summed over all processes.

    Returns
    -------
    variance, unbiased : array, shape (channels,)
        Both are 0 of a single row.
    """
    rows = sums[squares.shape[0]]
    return squares / rows, squares / xp.maximum(rows - 1, xp.ones_like(rows))


@function(
    "x: batch ... channels, mean: channels, variance: float[0 inf] channels, dy: batch ... channels"
    " -> d_scale: channels, d_shift: channels, slopes: pair channels",
    computed={"pair": _pair},
    mixes_rows=True,
)
def batch_norm_slopes(
    xp: Any, x: Array, mean: Array, variance: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients at the scale and at the shift of `batch_norm`, and both once more in one array.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    mean, variance : array, shape (channels,)
    dy : array, shape of `x`
    eps : float

    Returns
    -------
    d_scale, d_shift : array, shape (channels,)
        The part of these rows.
    slopes : array, shape (2, channels)
        A copy, to be summed over all processes.
    """
    d_scale = _sum(xp, dy * ((x - mean) / xp.sqrt(variance + eps)))
    d_shift = _sum(xp, dy)
    return d_scale, d_shift, xp.stack([d_scale, d_shift])


@function(
    "x: batch ... channels, scale: channels, mean: channels, variance: float[0 inf] channels,"
    " dy: batch ... channels, slopes: pair channels, sums: float[1 inf] entries -> dx: batch ... channels",
    computed={"pair": _pair, "entries": _entries},
    mixes_rows=True,
)
def batch_norm_shared_backward(
    xp: Any,
    x: Array,
    scale: Array,
    mean: Array,
    variance: Array,
    dy: Array,
    slopes: Array,
    sums: Array,
    *,
    eps: float,
) -> Array:
    """Return the gradient at `x` of ``batch_norm(x, scale, shift, mean, variance)`` through all arguments.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    scale, mean, variance : array, shape (channels,)
    dy : array, shape of `x`
    slopes : array, shape (2, channels)
        Those of `batch_norm_slopes`, summed over all processes.
    sums : array, shape (channels + 1,)
        Those of `batch_sums`, summed over all processes.
    eps : float

    Returns
    -------
    dx : array, shape of `x`
    """
    deviation, rows = xp.sqrt(variance + eps), sums[x.shape[-1]]
    normal = (x - mean) / deviation
    d_scale, d_shift = (slopes[i, :] for i in range(slopes.shape[0]))
    return (dy - d_shift / rows - normal * (d_scale / rows)) * (scale / deviation)


def _sum(xp: Any, x: Array) -> Array:
    """Return the sum over all rows, shape (channels,)."""
    return xp.sum(x, axis=tuple(range(x.ndim - 1)))
