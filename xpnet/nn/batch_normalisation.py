"""Batch normalisation and its gradients (Ioffe and Szegedy, "Batch Normalization", 2015).

A row is an example with its features, or a pixel of an image with its channels.
"""

import math
from typing import Any

from xpnet.nn.declaration import function

Array = Any


@function(
    "x: batch ... channels, scale: channels, shift: channels"
    " -> y: batch ... channels, mean: channels, variance: float[0 inf] channels",
    gradient="batch_norm_training_backward",
    mixes_rows=True,
)
def batch_norm_training(
    xp: Any, x: Array, scale: Array, shift: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Return each channel with mean 0 and variance 1, times `scale`, plus `shift`; and what it had before.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    scale, shift : array, shape (channels,)
    eps : float
        Added to the variance that `y` is normalised with, the mean of the squares.

    Returns
    -------
    y : array, shape of `x`
    mean : array, shape (channels,)
        Over all n rows.
    variance : array, shape (channels,)
        The unbiased estimate: n / (n - 1) times the mean of the squares; 0 of a single row.
    """
    normal, mean, squares, _ = _normalised(xp, x, eps)
    return normal * scale + shift, mean, squares / max(_rows(x) - 1, 1)


@function(
    "x: batch ... channels, scale: channels, dy: batch ... channels"
    " -> dx: batch ... channels, d_scale: channels, d_shift: channels",
    mixes_rows=True,
)
def batch_norm_training_backward(
    xp: Any, x: Array, scale: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients of the first result of ``batch_norm_training(x, scale, shift)``.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    scale : array, shape (channels,)
    dy : array, shape of `x`
    eps : float

    Returns
    -------
    dx : array, shape of `x`
    d_scale, d_shift : array, shape (channels,)
    """
    normal, _, _, deviation = _normalised(xp, x, eps)
    d_scale, d_shift = _sum(xp, dy * normal), _sum(xp, dy)
    n = _rows(x)
    dx = (dy - d_shift / n - normal * (d_scale / n)) * (scale / deviation)
    return dx, d_scale, d_shift


@function(
    "x: batch ... channels, scale: channels, shift: channels, mean: channels, variance: float[0 inf] channels"
    " -> y: batch ... channels",
    gradient="batch_norm_backward",
)
def batch_norm(
    xp: Any, x: Array, scale: Array, shift: Array, mean: Array, variance: Array, *, eps: float
) -> Array:
    """Return ``(x - mean) / sqrt(variance + eps) * scale + shift``, which does not depend on other rows.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    scale, shift, mean, variance : array, shape (channels,)
    eps : float

    Returns
    -------
    y : array, shape of `x`
    """
    return (x - mean) * (scale / xp.sqrt(variance + eps)) + shift


@function(
    "x: batch ... channels, scale: channels, mean: channels, variance: float[0 inf] channels,"
    " dy: batch ... channels"
    " -> dx: batch ... channels, d_scale: channels, d_shift: channels, d_mean: channels, d_variance: channels"
)
def batch_norm_backward(
    xp: Any, x: Array, scale: Array, mean: Array, variance: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the gradients of ``batch_norm(x, scale, shift, mean, variance)``.

    Parameters
    ----------
    x : array, shape (batch, channels) or (batch, height, width, channels), float
    scale, mean, variance : array, shape (channels,)
    dy : array, shape of `x`
    eps : float

    Returns
    -------
    dx : array, shape of `x`
    d_scale, d_shift, d_mean, d_variance : array, shape (channels,)
    """
    deviation = xp.sqrt(variance + eps)
    factor = scale / deviation
    d_scale, d_shift = _sum(xp, dy * ((x - mean) / deviation)), _sum(xp, dy)
    return dy * factor, d_scale, d_shift, -d_shift * factor, d_scale * factor / deviation * -0.5


@function("running!: *, value: * -> *")
def moving_average(xp: Any, running: Array, value: Array, *, momentum: float) -> Array:
    """Return ``(1 - momentum) * running + momentum * value``.

    The array `running` may be overwritten; use the one returned.

    Parameters
    ----------
    running, value : array, equal shapes, float
    momentum : float, in [0, 1]

    Returns
    -------
    running : array
    """
    running *= 1 - momentum
    running += momentum * value
    return running


def _normalised(xp: Any, x: Array, eps: float) -> tuple[Array, Array, Array, Array]:
    """Return rows of mean 0 and variance 1, the mean and the squares around it before, and the divisor."""
    mean = _sum(xp, x) / _rows(x)
    # Two passes: a difference of mean squares would cancel if the mean is large.
    centred = x - mean
    squares = _sum(xp, centred * centred)
    deviation = xp.sqrt(squares / _rows(x) + eps)
    return centred / deviation, mean, squares, deviation


def _rows(x: Array) -> int:
    return math.prod(x.shape[:-1])


def _sum(xp: Any, x: Array) -> Array:
    """Return the sum over all rows, shape (channels,)."""
    return xp.sum(x, axis=tuple(range(x.ndim - 1)))
