"""Convolutions: kernels of `convolution.cu` for small ones, windows as a matrix and cuBLAS for large ones.

All kernels take a struct that says which numbers meet; the gradient at the input is a convolution too, of the
gradient at the output, whose windows are those outputs that read a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cupy
import numpy

from xpnet.nn.windows import Around, Dilation, Groups, Stride
from xpnet_cupy import blas, kernels, launch, rules, stored
from xpnet_cupy.convolution_shapes import Shapes, shapes_of
from xpnet_cupy.dense import Dense
from xpnet_cupy.stored import Stored

Array = Any


class Convolution:
    """The functions of convolutions.

    Parameters
    ----------
    dense : Dense
        Computes the products of matrices of windows.
    """

    def __init__(self, dense: Dense) -> None:
        self._dense = dense

    def conv2d(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        *,
        stride: Stride = 1,
        padding: Around = "same",
        dilation: Dilation = 1,
        groups: Groups = 1,
    ) -> Array:
        """See `xpnet.nn.conv2d`."""
        of = shapes_of(x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return self.activated(of, None, x, weight, bias)[0]

    def activated(
        self,
        of: Shapes,
        activation: str | None,
        x: Array | Stored,
        weight: Array,
        bias: Array,
        *,
        keep_z: bool = False,
    ) -> tuple[Array, Array | None]:
        """Return ``f(z)`` for ``z = conv2d(x, weight, bias)``, and `z` if it is to be kept, else None.

        Parameters
        ----------
        of : Shapes
        activation, keep_z
            See `Dense.activated`.
        x : array or Stored
            If it is stored, the convolution must be small.
        weight, bias : array
            See `xpnet.nn.conv2d`.
        """
        dtype = x.dtype
        weight, bias = kernels.ready(weight, dtype), kernels.ready(bias, dtype)
        shape = of.batch, of.over[0].out, of.over[1].out, weight.shape[3]
        if not of.is_small:
            flat = _windows(of, kernels.ready(x, dtype)), weight.reshape((of.taps, -1)), bias
            y, z = self._dense.activated(activation, *flat, keep_z=keep_z)
            return y.reshape(shape), None if z is None else z.reshape(shape)
        y = cupy.empty(shape, dtype)
        z = cupy.empty(shape, dtype) if keep_z else None
        _convolve(activation, of.forward, x, weight, bias, z, y)
        return y, z

    def conv2d_backward(
        self,
        x: Array,
        weight: Array,
        dy: Array,
        *,
        stride: Stride = 1,
        padding: Around = "same",
        dilation: Dilation = 1,
        groups: Groups = 1,
        input_gradient: bool = True,
    ) -> tuple[Array | None, Array, Array]:
        """See `xpnet.nn.conv2d_backward`."""
        of = shapes_of(x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
        dx = self.input_gradient(of, weight, dy) if input_gradient else None
        return dx, *self.gradient(of, x, dy)

    def input_gradient(self, of: Shapes, weight: Array, dy: Array) -> Array:
        """Return the gradient at the input."""
        dtype, (rows, columns) = dy.dtype, of.over
        dy, weight = kernels.ready(dy, dtype), kernels.ready(weight, dtype)
        dx = cupy.empty((of.batch, rows.length, columns.length, of.groups * of.channels), dtype)
        if of.is_small:
            _convolve(None, of.backward, dy, weight, None, None, dx)
            return dx
        flat = weight.reshape((of.taps, -1)), dy.reshape((of.pixels, -1))
        d_windows = self._dense.backward(None, *flat)
        size = launch.blocks(dx.size), launch.THREADS
        last = dx.size, numpy.int32(of.channels), of.backward
        kernels.run("images_of", *size, d_windows, dx, *last, T=dtype)
        return dx

    def gradient(self, of: Shapes, x: Array | Stored, dy: Array) -> tuple[Array, Array]:
        """Return the gradients of a weight and of a bias."""
        (rows, columns), n_out = of.over, of.groups * of.outputs
        d_weight = cupy.empty((rows.size, columns.size, of.channels, n_out), x.dtype)
        d_bias, store = cupy.empty((n_out,), x.dtype), rules.rule(None, x.dtype)
        self._change(None, of, x, dy, d_weight, d_bias, store, store)
        return d_weight, d_bias

    def step(
        self,
        of: Shapes,
        name: str,
        x: Array | Stored,
        dy: Array,
        of_weight: Sequence[Array],
        of_bias: Sequence[Array],
        numbers: Mapping[str, Any],
    ) -> None:
        """Let an optimizer change a weight and a bias, and their states, by their gradients.

        See `Dense.step`.
        """

        def change(*arrays: Array) -> None:
            (weight, *of_weight), (bias, *of_bias) = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
            by = [rules.rule(name, x.dtype, state, numbers) for state in (of_weight, of_bias)]
            self._change(name, of, x, dy, weight, bias, *by)

        rules.in_place(change, [*of_weight, *of_bias])

    def _change(
        self,
        name: str | None,
        of: Shapes,
        x: Array | Stored,
        dy: Array,
        weight: Array,
        bias: Array,
        *by: Any,
    ) -> None:
        """Change a weight and a bias, which are contiguous, by rules and their gradients."""
        dtype = x.dtype
        dy = kernels.ready(dy, dtype)
        if of.is_small:
            rules.add_parts(name, *_gradient_parts(of.forward, of.taps, x, dy), weight, bias, *by)
            return
        x = kernels.ready(x, dtype)
        factors = _windows(of, x), dy.reshape((of.pixels, -1))
        d_weight = blas.multiply(*factors, transposed="left", tf32=self._dense.tf32)
        only_bias = of.forward
        only_bias["rows"]["size"] = 0  # Without taps there is only the row of the bias.
        rules.add_parts(name, *_gradient_parts(only_bias, 0, x, dy), weight[:0], bias, *by)
        rules.add_parts(name, d_weight, 1, weight, bias[:0], *by)


def _windows(of: Shapes, x: Array) -> Array:
    """Return what is in each window, shape (pixels, taps), of a convolution without groups."""
    made = cupy.empty((of.pixels, of.taps), x.dtype)
    size = launch.blocks(made.size), launch.THREADS
    kernels.run("windows_of", *size, x, made, made.size, of.forward, T=x.dtype)
    return made


def _convolve(activation: str | None, of: Array, x: Array | Stored, *others: Array | None) -> None:
    """Launch `convolve`, whose last array is the result."""
    suffix, read, x = stored.given(x, x.dtype)
    y: Array = others[-1]
    pixels = y.size // y.shape[3]
    tiles = int(of["groups"]) * -(-int(of["outputs"]) // launch.OUTPUTS)
    blocks = -(-pixels // launch.PIXELS) * tiles
    made_for = {"F": activation, "T": y.dtype}
    kernels.run(f"convolve{suffix}", blocks, launch.THREADS, *read, *others, pixels, of, **made_for)


def _gradient_parts(of: Array, taps: int, x: Array | Stored, dy: Array) -> tuple[Array, int]:
    """Return parts of the gradients of a weight and a bias, and how many."""
    n_out = dy.shape[3]
    tiles = int(of["groups"]) * -(-int(of["outputs"]) // launch.OUTPUTS) * -(-(taps + 1) // launch.ROWS)
    pixels = dy.size // n_out
    count, share = launch.parts(pixels, tiles)
    parts = cupy.empty((count, taps + 1, n_out), x.dtype)
    size = count * tiles, launch.THREADS
    suffix, read, _ = stored.given(x, x.dtype)
    last = dy, parts, pixels, share, of
    kernels.run(f"weight_gradient_parts{suffix}", *size, *read, *last, T=x.dtype)
    return parts, count
