"""Between rows of features and images, and the sum of two paths through a model."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from xpnet.nn.declaration import function

Array = Any
Shape = Annotated[tuple[int, int, int], (2, 3, 1), (4, 1, 3), (1, 1, 1)]


def _features(lengths: Mapping[str, int], given: Mapping[str, Any]) -> int:
    return math.prod(given["shape"]) if "shape" in given else math.prod(lengths[axis] for axis in _IMAGE)


_IMAGE = "height", "width", "channels"
_FLATTENED: Any = {
    "computed": {"features": _features},
    "drawable": {"height": (2, 3, 5), "width": (1, 3, 8), "channels": (1, 3, 6)},
}
_SHAPED: Any = {
    "computed": {
        "features": _features,
        **{axis: lambda _, given, i=i: given["shape"][i] for i, axis in enumerate(_IMAGE)},
    }
}


@function("x: batch height width channels -> y: batch features", gradient="flatten_backward", **_FLATTENED)
def flatten(xp: Any, x: Array) -> Array:
    """Return images as rows of features, pixel by pixel; it may share memory with `x`.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float

    Returns
    -------
    y : array, shape (batch, features)
    """
    batch, height, width, channels = x.shape
    return xp.reshape(x, (batch, height * width * channels))


@function(
    "x: batch height width channels, dy: batch features -> dx: batch height width channels", **_FLATTENED
)
def flatten_backward(xp: Any, x: Array, dy: Array) -> Array:
    """Return `dy` with the shape of `x`, the gradient at the input of ``flatten(x)``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    dy : array, shape (batch, features)

    Returns
    -------
    dx : array, shape of `x`
    """
    batch, height, width, channels = x.shape
    return xp.reshape(dy, (batch, height, width, channels))


@function("x: batch features -> y: batch height width channels", gradient="unflatten_backward", **_SHAPED)
def unflatten(xp: Any, x: Array, *, shape: Shape) -> Array:
    """Return rows of features as images, the reverse of `flatten`; it may share memory with `x`.

    Parameters
    ----------
    x : array, shape (batch, features), float
    shape : tuple of int
        (height, width, channels).

    Returns
    -------
    y : array, shape (batch, height, width, channels)
    """
    return xp.reshape(x, (x.shape[0], *shape))


@function("dy: batch height width channels -> dx: batch features", **_SHAPED)
def unflatten_backward(xp: Any, dy: Array, *, shape: Shape) -> Array:
    """Return `dy` as rows of features, the gradient at the input of ``unflatten(x)``.

    Parameters
    ----------
    dy : array, shape (batch, height, width, channels), float
    shape : tuple of int
        (height, width, channels).

    Returns
    -------
    dx : array, shape (batch, features)
    """
    return xp.reshape(dy, (dy.shape[0], math.prod(shape)))


@function("x: *, y: * -> z: *")
def add(xp: Any, x: Array, y: Array) -> Array:
    """Return ``x + y``; the gradient at each of them is that at the sum.

    Parameters
    ----------
    x, y : array, equal shapes, float

    Returns
    -------
    z : array, shape of `x`
    """
    return x + y
