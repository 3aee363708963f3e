"""Convolution in compiled steps: windows of images as columns of a matrix, for one BLAS product.

An object stands for one call, and for that of its gradients in the same step. It keeps the memory that it
needs in between.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy
from numpy.lib.stride_tricks import as_strided

from xpnet.nn.windows import Window, windows
from xpnet.replay.trace import Call

Array = Any

LARGEST = 2**23
"""Numbers in the columns that are made at a time: 32 MB of float32."""


class Convolution:
    """A convolution of images of one shape, see `xpnet.nn.conv2d`.

    Parameters
    ----------
    shape : tuple of int
        Of the images: (batch, height, width, channels).
    over : tuple of Window
        Along height and width.
    groups : int
    dtype : NumPy dtype
    """

    def __init__(self, shape: tuple[int, ...], over: tuple[Window, Window], groups: int, dtype: Any) -> None:
        self._over, self._groups = over, groups
        batch, _, _, channels = shape
        rows, columns = over
        self._inputs = rows.size * columns.size * channels // groups
        size = rows.out * columns.out * self._inputs * groups
        self._block = max(1, min(batch, LARGEST // size))
        # One input channel: rows of the image are longer runs than rows of the kernel.
        self._by_input = channels == 1
        self._images = _Padded(shape, over, dtype)
        self._columns = numpy.empty(self._block * size, dtype)
        self._filled = False

    def __call__(self, x: Array, weight: Array, bias: Array, y: Array) -> None:
        """Fill `y`."""
        matrix = self._by_group(weight)
        images = self._images.filled(x)
        for begin in range(0, len(x), self._block):
            block = y[begin : begin + self._block]
            columns = self._fill(images[begin : begin + self._block])
            numpy.matmul(columns, matrix, out=self._rows(block))
            # Along whole rows, because few channels would be many short loops.
            row = block.reshape(-1, block.shape[2] * block.shape[3])
            row += numpy.tile(bias, block.shape[2])
        self._filled = self._block == len(x)

    def gradients(self, x: Array, weight: Array, dy: Array, *gradients: Array) -> None:
        """Fill the gradients; there are two where that of the input is not wanted."""
        *dx, d_weight, d_bias = gradients
        images = None if self._filled else self._images.filled(x)
        totals: Array = 0
        for begin in range(0, len(x), self._block):
            block = dy[begin : begin + self._block]
            columns = (
                self._shaped(len(block))
                if images is None
                else self._fill(images[begin : begin + self._block])
            )
            totals = totals + numpy.matmul(columns.swapaxes(1, 2), self._rows(block))
        self._filled = False
        size = *weight.shape[:3], self._groups, -1
        numpy.copyto(
            d_weight.reshape(size), numpy.moveaxis(totals.reshape(self._groups, *weight.shape[:3], -1), 0, 3)
        )
        pixels = dy.reshape(-1, dy.shape[3])
        numpy.matmul(numpy.ones(len(pixels), dy.dtype), pixels, out=d_bias)
        if dx:
            self._differentiate_input(weight, dy, dx[0])

    def _differentiate_input(self, weight: Array, dy: Array, dx: Array) -> None:
        """Fill `dx` with the sums of what is in all windows, first along height and then along width.

        The columns, which are no longer needed, take the products.
        """
        rows, columns = self._over
        height, width, channels, _ = weight.shape
        pixel = numpy.dtype((numpy.void, channels * dx.itemsize))
        by_row = self._by_group(weight).reshape(self._groups, height, width * channels, -1).swapaxes(2, 3)
        for begin in range(0, len(dy), self._block):
            part = dy[begin : begin + self._block]
            total = self._images.zeros(len(part))
            lines = self._lines[: len(part)]
            pixels = lines.view(pixel).reshape(*lines.shape[:2], columns.out, width)
            for g, outputs in enumerate(self._rows(part)):
                found = self._columns[: len(outputs) * self._inputs].reshape(height, len(outputs), -1)
                numpy.matmul(outputs, by_row[g], out=found)
                lines[...] = 0
                for i, line in enumerate(found.reshape(height, len(part), rows.out, -1)):
                    lines[:, rows.begin(i)] += line
                own = total[..., g * channels : (g + 1) * channels]
                for j in range(width):
                    side_by_side = numpy.ascontiguousarray(pixels[..., j]).view(dx.dtype)
                    own[:, :, columns.begin(j)] += side_by_side.reshape(*lines.shape[:2], -1, channels)
            numpy.copyto(dx[begin : begin + self._block], self._images.inside(total))

    @functools.cached_property
    def _lines(self) -> Array:
        """Memory for what the windows of a row of images add up to along height."""
        rows, columns = self._over
        height, width = self._images.height, columns.out * self._inputs // rows.size
        return numpy.empty((self._block, height, width), self._columns.dtype)

    def _by_group(self, weight: Array) -> Array:
        """Return a weight as matrices, shape (groups, inputs, outputs of a group)."""
        apart = weight.reshape(*weight.shape[:3], self._groups, -1)
        return numpy.moveaxis(apart, 3, 0).reshape(self._groups, self._inputs, -1)

    def _rows(self, y: Array) -> Array:
        """Return images of outputs as matrices, shape (groups, pixels, outputs of a group)."""
        return y.reshape(-1, self._groups, y.shape[3] // self._groups).swapaxes(0, 1)

    def _fill(self, images: Array) -> Array:
        """Return the columns of padded images."""
        rows, columns = self._over
        batch, _, _, channels = images.shape
        if self._by_input:
            made = self._columns[: batch * self._columns.size // self._block]
            made = made.reshape(rows.size, columns.size, batch, rows.out, columns.out)
            for i in range(rows.size):
                for j in range(columns.size):
                    numpy.copyto(made[i, j], images[:, rows.begin(i), columns.begin(j), 0])
            return self._shaped(batch)
        of_batch, of_row, of_column, of_channel = images.strides
        group = channels // self._groups
        shape = self._groups, batch, rows.out, columns.out, rows.size, columns.size, group
        steps = (
            of_row * rows.stride,
            of_column * columns.stride,
            of_row * rows.dilation,
            of_column * columns.dilation,
        )
        windows = as_strided(images, shape, (group * of_channel, of_batch, *steps, of_channel))
        numpy.copyto(self._columns[: windows.size].reshape(shape), windows)
        return self._shaped(batch)

    def _shaped(self, batch: int) -> Array:
        """Return columns that have been filled, shape (groups, pixels, inputs)."""
        pixels = batch * self._over[0].out * self._over[1].out
        made = self._columns[: self._groups * pixels * self._inputs]
        if self._by_input:
            return made.reshape(1, self._inputs, pixels).swapaxes(1, 2)
        return made.reshape(self._groups, pixels, self._inputs)


class _Padded:
    """Images with zeros around them, in memory that is kept."""

    def __init__(self, shape: tuple[int, ...], over: tuple[Window, Window], dtype: Any) -> None:
        batch, _, _, channels = shape
        self.height, width = (window.before + window.length + window.after for window in over)
        self._shape, self._dtype = (batch, self.height, width, channels), dtype
        self._inside = tuple(slice(w.before, w.before + w.length) for w in over)
        self._needed = self._shape != shape

    @functools.cached_property
    def _filled(self) -> Array:
        return numpy.zeros(self._shape, self._dtype)

    @functools.cached_property
    def _zeros(self) -> Array:
        return numpy.empty(self._shape, self._dtype)

    def filled(self, x: Array) -> Array:
        """Return images with their padding."""
        if not self._needed:
            return x
        numpy.copyto(self.inside(self._filled), x)
        return self._filled

    def inside(self, x: Array) -> Array:
        """Return a view without the padding."""
        return x[:, *self._inside]

    def zeros(self, batch: int) -> Array:
        """Return padded images of zeros, to be changed."""
        self._zeros[:batch] = 0
        return self._zeros[:batch]


def convolution_of(call: Call) -> tuple[Any, ...]:
    """Return the arguments of the `Convolution` that computes a call."""
    x, sizes = call.arrays["x"], call.sizes or {}
    options = {name: call.numbers[name] for name in ("stride", "padding", "dilation")}
    size = sizes["kernel_height"], sizes["kernel_width"]
    over = windows((sizes["height"], sizes["width"]), size, **options)
    return x.shape, over, call.numbers["groups"], x.dtype
