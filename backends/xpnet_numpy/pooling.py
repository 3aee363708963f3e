"""Maximum pooling in compiled steps, where windows lie side by side."""

from __future__ import annotations

import functools
from typing import Any

import numpy

from xpnet.nn.windows import Window, pool_windows
from xpnet.replay.trace import Call
from xpnet_numpy.in_place import keep_where

Array = Any


class MaxPool:
    """The largest of windows that lie side by side, see `xpnet.nn.max_pool2d`.

    Parameters
    ----------
    shape : tuple of int
        Of the images: (batch, height, width, channels).
    over : tuple of Window
        They do not overlap, and there is no padding.
    dtype : NumPy dtype
    """

    def __init__(self, shape: tuple[int, ...], over: tuple[Window, Window], dtype: Any) -> None:
        self._over = over
        batch, height, _, channels = shape
        _, columns = over
        # A pixel as one element, because few channels would be many short loops.
        self._pixel = numpy.dtype((numpy.void, channels * dtype.itemsize))
        self._parts = [numpy.empty((batch, height, columns.out), self._pixel) for _ in range(columns.size)]
        self._largest = numpy.empty((batch, height, columns.out * channels), dtype)
        self._filled = False

    def __call__(self, x: Array, y: Array) -> None:
        """Fill `y`."""
        rows, _ = self._over
        self._reduce(x)
        out = y.reshape(*y.shape[:2], -1)
        numpy.copyto(out, self._largest[:, rows.begin(0)])
        for i in range(1, rows.size):
            numpy.maximum(out, self._largest[:, rows.begin(i)], out=out)
        self._filled = True

    def _reduce(self, x: Array) -> None:
        """Find the largest of each window's rows."""
        _, columns = self._over
        pixels = numpy.ascontiguousarray(x).view(self._pixel)[..., 0]
        for j, part in enumerate(self._parts):
            numpy.copyto(part, pixels[:, :, columns.begin(j)])
        first, *others = self._numbers(x.dtype)
        numpy.copyto(self._largest, first)
        for other in others:
            numpy.maximum(self._largest, other, out=self._largest)

    @functools.cached_property
    def _by_row(self) -> Array:
        """Memory for the gradient at the largest of rows; those in no window stay 0."""
        return numpy.zeros_like(self._largest)

    @functools.cached_property
    def _gradients(self) -> list[Array]:
        return [numpy.empty_like(self._largest) for _ in self._parts]

    def _numbers(self, dtype: Any) -> list[Array]:
        return [part.view(dtype).reshape(self._largest.shape) for part in self._parts]

    def gradient(self, x: Array, y: Array, dy: Array, dx: Array) -> None:
        """Fill `dx`."""
        rows, columns = self._over
        if not self._filled:
            self._reduce(x)
        self._filled = False
        shape = *y.shape[:2], y.shape[2] * y.shape[3]
        by_row = self._by_row
        _spread(
            y.reshape(shape),
            dy.reshape(shape),
            [self._largest[:, rows.begin(i)] for i in range(rows.size)],
            [by_row[:, rows.begin(i)] for i in range(rows.size)],
        )
        numbers = self._numbers(x.dtype)
        found = self._gradients
        _spread(self._largest, by_row, numbers, found)
        pixels = dx.view(self._pixel)[..., 0]
        if columns.out * columns.size < dx.shape[2] or rows.out * rows.size < dx.shape[1]:
            dx[...] = 0
        for j, part in enumerate(found):
            numpy.copyto(pixels[:, :, columns.begin(j)], part.view(self._pixel).reshape(self._parts[j].shape))


def _spread(largest: Array, gradient: Array, parts: list[Array], found: list[Array]) -> None:
    """Fill arrays of `found` with the gradient where the first of the parts is the largest, else with 0."""
    is_left = None
    for part, out in zip(parts, found, strict=True):
        is_largest = part == largest
        is_first = is_largest if is_left is None else is_largest & is_left
        keep_where(is_first, gradient, out)
        is_left = ~is_largest if is_left is None else is_left & ~is_largest


def pool_of(call: Call) -> tuple[Any, ...] | None:
    """Return the arguments of the `MaxPool` that computes a call; None if only the twin does."""
    x = call.arrays["x"]
    options = {name: call.numbers[name] for name in ("size", "stride", "padding")}
    over = pool_windows((x.shape[1], x.shape[2]), **options)
    if any(w.stride < w.size or w.before or w.after for w in over):
        return None
    return x.shape, over, x.dtype
