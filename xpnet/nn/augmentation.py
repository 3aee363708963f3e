"""Random changes of images in training, drawn inside the step."""

from typing import Annotated, Any

from xpnet.nn.declaration import function
from xpnet.nn.random import philox, step_word

Array = Any
Most = Annotated[int, 1, 2]
First = Annotated[int, 0, 7, 2**17]
_SIDES = {"height": (2, 3, 5), "width": (1, 3, 8), "channels": (1, 3, 6)}


@function(
    "x: batch height width channels, key: key, step: count -> y: batch height width channels",
    gradient="random_shift_backward",
    drawable=_SIDES,
)
def random_shift(xp: Any, x: Array, key: int, step: int, *, most: Most, first: First = 0) -> Array:
    """Return images that are each moved by whole pixels; zeros come in at the edges.

    The moves down and to the right are drawn uniformly from ``[-most, most]``. They are the first two words
    of `philox` at the counter ``(number of the image, 0, step, 0)``, modulo ``2 * most + 1``, minus `most`.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    key : int
        In [0, 2**64).
    step : int
        The moves repeat after 2**32 steps.
    most : int
        0 or above.
    first : int
        The number of the first image, 0 or above; all numbers are below 2**32.

    Returns
    -------
    y : array, shape of `x`
    """
    down, right = _moves(xp, _words(xp, x, key, step, first), most)
    return _moved(xp, x, down, right)


@function(
    "dy: batch height width channels, key: key, step: count -> dx: batch height width channels",
    drawable=_SIDES,
)
def random_shift_backward(xp: Any, dy: Array, key: int, step: int, *, most: Most, first: First = 0) -> Array:
    """Return the gradient at the input of `random_shift`: `dy` moved back.

    Parameters
    ----------
    dy : array, shape (batch, height, width, channels), float
    key, step, most, first : int

    Returns
    -------
    dx : array, shape of `dy`
    """
    down, right = _moves(xp, _words(xp, dy, key, step, first), most)
    return _moved(xp, dy, -down, -right)


@function(
    "x: batch height width channels, key: key, step: count -> y: batch height width channels",
    gradient="random_flip_backward",
    drawable=_SIDES,
)
def random_flip(xp: Any, x: Array, key: int, step: int, *, first: First = 0) -> Array:
    """Return images of which each is mirrored, left for right, with probability one half.

    It is mirrored if the highest bit of the first word of `philox` is 1 at the counter
    ``(number of the image, 0, step, 0)``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), float
    key : int
        In [0, 2**64).
    step : int
        The choices repeat after 2**32 steps.
    first : int
        The number of the first image, 0 or above; all numbers are below 2**32.

    Returns
    -------
    y : array, shape of `x`
    """
    mirrored = _words(xp, x, key, step, first)[0] >= xp.asarray(1 << 31, dtype=xp.uint32)
    return xp.where(xp.reshape(mirrored, (-1, 1, 1, 1)), xp.flip(x, axis=2), x)


@function(
    "dy: batch height width channels, key: key, step: count -> dx: batch height width channels",
    drawable=_SIDES,
)
def random_flip_backward(xp: Any, dy: Array, key: int, step: int, *, first: First = 0) -> Array:
    """Return the gradient at the input of `random_flip`: `dy` mirrored back.

    Parameters
    ----------
    dy : array, shape (batch, height, width, channels), float
    key, step, first : int

    Returns
    -------
    dx : array, shape of `dy`
    """
    return random_flip(xp, dy, key, step, first=first)


def _words(xp: Any, x: Array, key: int, step: int, first: int) -> tuple[Array, ...]:
    """Return four words of random bits for each image, shape (batch,) each."""
    nothing = xp.asarray(0, dtype=xp.uint32)
    numbers = xp.arange(first, first + x.shape[0], dtype=xp.uint32)
    return philox(xp, (numbers, nothing, step_word(xp, step), nothing), key)


def _moves(xp: Any, words: tuple[Array, ...], most: int) -> tuple[Array, Array]:
    """Return by how many pixels each image is moved down and to the right, shape (batch,), int32."""
    choices = xp.asarray(2 * most + 1, dtype=xp.uint32)
    down, right = (xp.astype(word % choices, xp.int32) - most for word in words[:2])
    return down, right


def _moved(xp: Any, x: Array, down: Array, right: Array) -> Array:
    """Return images moved by so many pixels, with zeros where no pixel comes from."""
    batch, height, width, channels = x.shape
    row = xp.reshape(xp.arange(height, dtype=xp.int32), (1, -1, 1)) - xp.reshape(down, (-1, 1, 1))
    column = xp.reshape(xp.arange(width, dtype=xp.int32), (1, 1, -1)) - xp.reshape(right, (-1, 1, 1))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)  # (batch, height, width)
    image = xp.reshape(xp.arange(batch, dtype=xp.int32), (-1, 1, 1))
    place = xp.where(inside, (image * height + row) * width + column, xp.zeros_like(row))
    pixels = xp.take(xp.reshape(x, (-1, channels)), xp.reshape(place, (-1,)), axis=0)
    moved = xp.reshape(pixels, x.shape)
    return xp.where(xp.reshape(inside, (batch, height, width, 1)), moved, xp.zeros_like(moved))
