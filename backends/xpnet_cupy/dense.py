"""Linear layers: kernels of `products.cu` for small products, cuBLAS for large ones.

A small product takes less time than starting a kernel, so its kernel does what follows too: it adds the bias,
applies the activation, or takes the optimizer's step. After a large one that is a kernel of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import cupy

from xpnet_cupy import blas, kernels, launch, rules, stored
from xpnet_cupy.stored import Stored

Array = Any

# Between 224 x 224 x 224 and 256 x 256 x 256: forward, back and step of a layer take 28.7 us by our kernels
# and 31.5 by cuBLAS at the first size, 33.9 and 32.0 at the second (float32, captured, NVIDIA H200).
LARGEST_PRODUCT = 12_000_000
"""Multiplications in the largest product by a kernel of ours; cuBLAS computes larger ones."""

# Counted, not measured: the product of 1000 rows of 784 inputs by 64 columns, as in an evaluation, is four
# waves of two tiles a multiprocessor. So a training of such a network never starts cuBLAS.
LARGEST_FORWARD = 2**26
"""The same of the product forward of a layer of many inputs."""


class Dense:
    """The functions of linear layers.

    Parameters
    ----------
    tf32 : bool
        Whether cuBLAS may round float32 factors to TF32.
    """

    def __init__(self, *, tf32: bool) -> None:
        self.tf32 = tf32

    def is_own(self, batch: int, n_in: int, n_out: int) -> bool:
        """Return whether a kernel of ours computes the product of a layer forward; see `is_small`."""
        if is_small(batch, n_in, n_out):
            return True
        return not self.tf32 and n_in >= launch.MANY_INPUTS and batch * n_in * n_out <= LARGEST_FORWARD

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """See `xpnet.nn.linear`."""
        return self.activated(None, x, weight, bias)[0]

    def activated(
        self, activation: str | None, x: Array | Stored, weight: Array, bias: Array, *, keep_z: bool = False
    ) -> tuple[Array, Array | None]:
        """Return ``f(z)`` for ``z = x weight + bias``, and `z` if it is to be kept, else None.

        Parameters
        ----------
        activation : str or None
            A function of `xpnet.nn` in `source.ACTIVATIONS`; None for ``f(z) = z``.
        x : array or Stored
            If it is stored, the product must be one of ours: see `is_own`.
        weight, bias : array
            See `xpnet.nn.linear`.
        keep_z : bool
        """
        dtype = x.dtype
        suffix, read, x = stored.given(x, dtype)
        weight, bias = kernels.ready(weight, dtype), kernels.ready(bias, dtype)
        (batch, n_in), n_out = x.shape, weight.shape[1]
        z, made_for = None, {"F": activation, "T": dtype}
        if self.is_own(batch, n_in, n_out):
            y = cupy.empty((batch, n_out), dtype)
            z = cupy.empty((batch, n_out), dtype) if keep_z else None
            size = launch.tiles(batch, n_out), launch.THREADS
            name = "linear" + (suffix or ("_of_many_inputs" if n_in >= launch.MANY_INPUTS else ""))
            kernels.run(name, *size, *read, weight, bias, z, y, batch, n_in, n_out, **made_for)
            return y, z
        y = product = blas.multiply(x, weight, tf32=self.tf32)
        if keep_z:
            y, z = cupy.empty((batch, n_out), dtype), product
        size = launch.blocks(y.size), launch.THREADS
        kernels.run("add_bias", *size, product, bias, z, y, y.size, n_out, **made_for)
        return y, z

    def linear_backward(
        self, x: Array, weight: Array, dy: Array, *, input_gradient: bool = True
    ) -> tuple[Array | None, Array, Array]:
        """See `xpnet.nn.linear_backward`."""
        dx = self.backward(None, weight, dy) if input_gradient else None
        return dx, *self.gradient(x, dy)

    def backward(self, activation: str | None, weight: Array, dy: Array, kept: Array | None = None) -> Array:
        """Return the gradient at the argument of an activation before a linear layer.

        Parameters
        ----------
        activation : str or None
            See `activated`. If it is None, the result is the gradient at the input of the layer.
        weight : array, shape (n_in, n_out)
        dy : array, shape (batch, n_out)
            The gradient at the output of the layer.
        kept : array, shape (batch, n_in), optional
            What the gradient of the activation takes: its result (the input of the layer) or its argument.

        Returns
        -------
        dz : array, shape (batch, n_in)
        """
        dtype = dy.dtype
        dy, weight = kernels.ready(dy, dtype), kernels.ready(weight, dtype)
        kept = None if kept is None else kernels.ready(kept, dtype)
        (batch, n_out), n_in = dy.shape, weight.shape[0]
        made_for = {"F": activation, "T": dtype}
        if is_small(batch, n_in, n_out):
            dz = cupy.empty((batch, n_in), dtype)
            size = launch.tiles(batch, n_in), launch.THREADS
            kernels.run("linear_backward", *size, dy, weight, kept, dz, batch, n_in, n_out, **made_for)
            return dz
        dz = blas.multiply(dy, weight, transposed="right", tf32=self.tf32)
        if activation is not None:
            size = launch.blocks(dz.size), launch.THREADS
            kernels.run("activate_backward", *size, kept, dz, dz, dz.size, **made_for)
        return dz

    def gradient(self, x: Array | Stored, dy: Array) -> tuple[Array, Array]:
        """Return the gradients of a weight and of a bias: see `xpnet.nn.linear_backward`."""
        dtype, n_in, n_out = x.dtype, x.shape[1], dy.shape[1]
        dy, store = kernels.ready(dy, dtype), rules.rule(None, dtype)
        d_bias = cupy.empty((n_out,), dtype)
        if is_small(len(dy), n_in, n_out):
            d_weight = cupy.empty((n_in, n_out), dtype)
            _step(None, x, dy, d_weight, d_bias, store, store)
            return d_weight, d_bias
        d_weight = self._weight_gradient(x, dy)
        _step_by_gradient(None, d_weight[:0], dy, d_weight, d_bias, store, store)
        return d_weight, d_bias

    def _weight_gradient(self, x: Array, dy: Array) -> Array:
        return blas.multiply(kernels.ready(x, dy.dtype), dy, transposed="left", tf32=self.tf32)

    def step(
        self,
        name: str,
        x: Array | Stored,
        dy: Array,
        of_weight: Sequence[Array],
        of_bias: Sequence[Array],
        numbers: Mapping[str, Any],
    ) -> None:
        """Let an optimizer change a weight and a bias, and their states, by their gradients.

        Parameters
        ----------
        name : str
            A step of `xpnet.nn` in `source.RULES`.
        x : array or Stored, shape (batch, n_in)
            The input of the layer.
        dy : array, shape (batch, n_out)
            The gradient at its output.
        of_weight, of_bias : sequence of array
            The parameter, then its state.
        numbers : mapping
            See `rules.rule`.
        """
        dtype = x.dtype
        dy = kernels.ready(dy, dtype)
        if is_small(len(dy), x.shape[1], dy.shape[1]):
            take = functools.partial(_step, name, x, dy)
        else:
            take = functools.partial(_step_by_gradient, name, self._weight_gradient(x, dy), dy)

        def change(*arrays: Array) -> None:
            (weight, *of_weight), (bias, *of_bias) = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
            by = [rules.rule(name, dtype, state, numbers) for state in (of_weight, of_bias)]
            take(weight, bias, *by)

        rules.in_place(change, [*of_weight, *of_bias])


def _step(name: str | None, x: Array | Stored, dy: Array, *args: Any) -> None:
    (batch, n_out), n_in = dy.shape, x.shape[1]
    suffix, read, _ = stored.given(x, x.dtype)
    size = launch.tiles(n_in + 1, n_out), launch.THREADS
    last = dy, batch, n_in, n_out, *args
    kernels.run(f"linear_step{suffix}", *size, *read, *last, Rule=name, T=x.dtype)


def _step_by_gradient(name: str | None, d_weight: Array, dy: Array, *args: Any) -> None:
    batch, n_out = dy.shape
    size = launch.tiles(1, n_out) + launch.blocks(d_weight.size), launch.THREADS
    last = d_weight, d_weight.size, dy, batch, n_out, *args
    kernels.run("step_by_gradient", *size, *last, Rule=name, T=dy.dtype)


def is_small(batch: int, n_in: int, n_out: int) -> bool:
    """Return whether kernels of ours compute all products of a layer."""
    return batch * n_in * n_out <= LARGEST_PRODUCT
