"""Standardising by what was measured before; layer normalisation (Ba, Kiros and Hinton, 2016); gradients."""

from typing import Any

from xpnet.nn.declaration import function

Array = Any


@function(
    "x: batch ... features, mean: features, deviation: float[1e-9 inf] features -> y: batch ... features",
    gradient="standardize_backward",
)
def standardize(xp: Any, x: Array, mean: Array, deviation: Array) -> Array:
    """Return ``(x - mean) / deviation``.

    Parameters
    ----------
    x : array, shape (batch, features) or (batch, height, width, features), float
    mean, deviation : array, shape (features,)
        No deviation is 0.

    Returns
    -------
    y : array, shape of `x`
    """
    return (x - mean) / deviation


@function(
    "x: batch ... features, mean: features, deviation: float[1e-9 inf] features, dy: batch ... features"
    " -> dx: batch ... features, d_mean: features, d_deviation: features"
)
def standardize_backward(
    xp: Any, x: Array, mean: Array, deviation: Array, dy: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of ``standardize(x, mean, deviation)``.

    Parameters
    ----------
    x : array, shape (batch, features) or (batch, height, width, features), float
    mean, deviation : array, shape (features,)
    dy : array, shape of `x`

    Returns
    -------
    dx : array, shape of `x`
    d_mean, d_deviation : array, shape (features,)
    """
    dx = dy / deviation
    rows = tuple(range(x.ndim - 1))
    return dx, -xp.sum(dx, axis=rows), -xp.sum(dx * ((x - mean) / deviation), axis=rows)


@function(
    "x: batch ... features, scale: features, shift: features -> y: batch ... features",
    gradient="layer_norm_backward",
)
def layer_norm(xp: Any, x: Array, scale: Array, shift: Array, *, eps: float) -> Array:
    """Return each row less its mean, over its standard deviation, times `scale`, plus `shift`.

    The rows of images are their pixels, and the features are channels.

    Parameters
    ----------
    x : array, shape (batch, features) or (batch, height, width, features), float
    scale, shift : array, shape (features,)
    eps : float
        Added to the variance, which is that of the row itself: the mean of the squares.

    Returns
    -------
    y : array, shape of `x`
    """
    normal, _ = _normalised(xp, x, eps)
    return normal * scale + shift


@function(
    "x: batch ... features, scale: features, dy: batch ... features"
    " -> dx: batch ... features, d_scale: features, d_shift: features"
)
def layer_norm_backward(
    xp: Any, x: Array, scale: Array, dy: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients of ``layer_norm(x, scale, shift)``.

    Parameters
    ----------
    x : array, shape (batch, features) or (batch, height, width, features), float
    scale : array, shape (features,)
    dy : array, shape of `x`
    eps : float

    Returns
    -------
    dx : array, shape of `x`
    d_scale, d_shift : array, shape (features,)
    """
    normal, deviation = _normalised(xp, x, eps)
    d_normal = dy * scale
    along = normal * xp.mean(d_normal * normal, axis=-1, keepdims=True)
    dx = (d_normal - xp.mean(d_normal, axis=-1, keepdims=True) - along) / deviation
    rows = tuple(range(x.ndim - 1))
    return dx, xp.sum(dy * normal, axis=rows), xp.sum(dy, axis=rows)


def _normalised(xp: Any, x: Array, eps: float) -> tuple[Array, Array]:
    """Return rows of mean 0 and variance 1, and the standard deviations they were divided by."""
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    deviation = xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    return centred / deviation, deviation
