"""Random changes of images, moved by whole pixels or mirrored, drawn with the generator Philox 4x32-10."""

from typing import Any

import numpy

from xpnet_numba.kernels.compiled import part
from xpnet_numba.kernels.formulas import each_row
from xpnet_numba.kernels.memory import get, put
from xpnet_numba.kernels.random import from_halves, philox

Array = Any
Scalar = Any


@part
def _moves(number: Scalar, low: Scalar, high: Scalar, step: Scalar, choices: Scalar) -> tuple[Scalar, Scalar]:
    """Return by how many pixels the image of a number is moved down and to the right."""
    down, right, _, _ = philox(number, step, low, high)
    most = numpy.int64(choices) // 2
    return numpy.int64(down % choices) - most, numpy.int64(right % choices) - most


@part
def _move(x: Array, y: Array, image: int, down: int, right: int) -> None:
    """Fill an image of `y` with that of `x`, moved; zeros come in at the edges."""
    _, height, width, channels = x.shape
    for row in range(height):
        begin = end = width
        if 0 <= row - down < height:
            begin = min(max(right, 0), width)
            end = max(min(width + right, width), begin)
        out = (image * height + row) * width * channels
        at = out - (down * width + right) * channels
        for k in range(begin * channels):
            put(y, out + k, y.dtype.type(0))
        for k in range(begin * channels, end * channels):
            put(y, out + k, get(x, at + k))
        for k in range(end * channels, width * channels):
            put(y, out + k, y.dtype.type(0))


@part
def _flip(x: Array, y: Array, image: int, number: Scalar, low: Scalar, high: Scalar, step: Scalar) -> None:
    """Fill an image of `y` with that of `x`, or with its mirror image; `number` is that of the image."""
    _, height, width, channels = x.shape
    mirrored = philox(number, step, low, high)[0] >> numpy.uint64(31) > numpy.uint64(0)
    begin, turn = (width - 1, -1) if mirrored else (0, 1)
    for row in range(image * height, (image + 1) * height):
        for column in range(width):
            out = (row * width + column) * channels
            at = (row * width + begin + turn * column) * channels
            for k in range(channels):
                put(y, out + k, get(x, at + k))


@each_row
def random_shift(
    x: Array,
    y: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    choices0: Scalar,
    choices1: Scalar,
    first0: Scalar,
    first1: Scalar,
    image: int,
) -> None:
    """Fill an image of `y` with that of `x`, moved."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    number, choices = from_halves(first0, first1) + numpy.uint64(image), from_halves(choices0, choices1)
    down, right = _moves(number, low, high, step, choices)
    _move(x, y, image, down, right)


@each_row
def random_shift_backward(
    dy: Array,
    dx: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    choices0: Scalar,
    choices1: Scalar,
    first0: Scalar,
    first1: Scalar,
    image: int,
) -> None:
    """Fill an image of `dx` with that of `dy`, moved back."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    number, choices = from_halves(first0, first1) + numpy.uint64(image), from_halves(choices0, choices1)
    down, right = _moves(number, low, high, step, choices)
    _move(dy, dx, image, -down, -right)


@each_row
def random_flip(
    x: Array,
    y: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    first0: Scalar,
    first1: Scalar,
    image: int,
) -> None:
    """Fill an image of `y` with that of `x`, perhaps mirrored."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    number = from_halves(first0, first1) + numpy.uint64(image)
    _flip(x, y, image, number, low, high, step)


@each_row
def random_flip_backward(
    dy: Array,
    dx: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    first0: Scalar,
    first1: Scalar,
    image: int,
) -> None:
    """Fill an image of `dx` with that of `dy`, mirrored back."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    number = from_halves(first0, first1) + numpy.uint64(image)
    _flip(dy, dx, image, number, low, high, step)
