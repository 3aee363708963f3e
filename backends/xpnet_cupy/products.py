"""Linear layers: kernels of `kernels.cu` for small products, cuBLAS for large ones.

A small product takes less time than to start a kernel, so its kernel does what follows too: it adds the bias,
applies the activation, or takes the step of the optimizer. After a large one that is a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

from xpnet_cupy import blas, kernels, launch

Array = Any

# Between 224 x 224 x 224 and 256 x 256 x 256: forward, back and step of a layer take 28.7 us by our kernels
# and 31.5 by cuBLAS at the first size, 33.9 and 32.0 at the second (float32, captured, NVIDIA H200).
LARGEST_PRODUCT = 12_000_000
"""Multiplications in the largest product of ours; larger ones are cuBLAS's."""


class Products:
    """The functions of linear layers.

    Parameters
    ----------
    tf32 : bool
        Whether cuBLAS may round float32 factors to TF32.
    """

    def __init__(self, *, tf32: bool) -> None:
        self.tf32 = tf32

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """See `xpnet.nn.linear`."""
        return self.activated(None, x, weight, bias)

    def activated(self, activation: str | None, x: Array, weight: Array, bias: Array) -> Array:
        """Return ``f(x weight + bias)``.

        Parameters
        ----------
        activation : {None, "relu", "sigmoid", "tanh"}
            For the others see `xpnet.nn.linear`.
        """
        dtype = x.dtype
        x, weight, bias = (kernels.ready(array, dtype) for array in (x, weight, bias))
        (batch, n_in), n_out = x.shape, weight.shape[1]
        if _is_small(batch, n_in, n_out):
            y = cupy.empty((batch, n_out), dtype)
            size = launch.tiles(batch, n_out), launch.THREADS
            kernels.run("linear", (activation, dtype), *size, x, weight, bias, y, batch, n_in, n_out)
            return y
        y = blas.multiply(x, weight, tf32=self.tf32)
        size = launch.blocks(y.size), launch.THREADS
        kernels.run("add_bias", (activation, dtype), *size, y, bias, y.size, n_out)
        return y

    def linear_backward(
        self, x: Array, weight: Array, dy: Array, *, input_gradient: bool = True
    ) -> tuple[Array | None, Array, Array]:
        """See `xpnet.nn.linear_backward`."""
        dx = self.backward(None, weight, dy, None) if input_gradient else None
        return dx, *self.gradient(x, dy)

    def backward(self, activation: str | None, weight: Array, dy: Array, y: Array | None) -> Array:
        """Return the gradient of what an activation made `y` of, before a linear layer.

        Parameters
        ----------
        activation : {None, "relu", "sigmoid", "tanh"}
        weight : array, shape (n_in, n_out)
        dy : array, shape (batch, n_out)
            The gradient of what the layer returned.
        y : array, shape (batch, n_in), or None
            What the layer was given; not used without an activation.

        Returns
        -------
        dz : array, shape (batch, n_in)
        """
        dtype = dy.dtype
        dy, weight = kernels.ready(dy, dtype), kernels.ready(weight, dtype)
        y = kernels.NOWHERE if y is None else kernels.ready(y, dtype)
        (batch, n_out), n_in = dy.shape, weight.shape[0]
        if _is_small(batch, n_in, n_out):
            dz = cupy.empty((batch, n_in), dtype)
            size = launch.tiles(batch, n_in), launch.THREADS
            kernels.run("linear_backward", (activation, dtype), *size, dy, weight, y, dz, batch, n_in, n_out)
            return dz
        dz = blas.multiply(dy, weight, transposed="right", tf32=self.tf32)
        if activation is not None:
            size = launch.blocks(dz.size), launch.THREADS
            kernels.run("activate_backward", (activation, dtype), *size, y, dz, dz, dz.size)
        return dz

    def gradient(self, x: Array, dy: Array) -> tuple[Array, Array]:
        """Return the gradients of a weight and of a bias: see `xpnet.nn.linear_backward`."""
        dtype, n_in, n_out = x.dtype, x.shape[1], dy.shape[1]
        x, dy = kernels.ready(x, dtype), kernels.ready(dy, dtype)
        d_bias = cupy.empty((n_out,), dtype)
        if _is_small(len(x), n_in, n_out):
            d_weight = cupy.empty((n_in, n_out), dtype)
            self._change("linear_gradient", x, dy, n_in, d_weight, d_bias)
            return d_weight, d_bias
        d_weight = blas.multiply(x, dy, transposed="left", tf32=self.tf32)
        # With no inputs there is only the row of the bias.
        self._change("linear_gradient", x, dy, 0, d_weight, d_bias)
        return d_weight, d_bias

    def step(
        self,
        rule: str,
        x: Array,
        dy: Array,
        of_weight: tuple[Array, ...],
        of_bias: tuple[Array, ...],
        *numbers: Any,
    ) -> None:
        """Let an optimizer change a weight and a bias, and their states, by their gradients.

        Parameters
        ----------
        rule : str
            A function of `xpnet.nn`, such as ``"momentum_step"``.
        x : array, shape (batch, n_in)
            What the layer was given.
        dy : array, shape (batch, n_out)
            The gradient of what it returned.
        of_weight, of_bias : tuple of array
            The parameter and its states.
        *numbers
            The rule's.
        """
        dtype, n_in = x.dtype, x.shape[1]
        x, dy = kernels.ready(x, dtype), kernels.ready(dy, dtype)
        if not _is_small(len(x), n_in, dy.shape[1]):
            change: Callable[..., Any] = getattr(kernels, rule)
            for of_param, grad in zip((of_weight, of_bias), self.gradient(x, dy), strict=True):
                change(of_param[0], grad, *of_param[1:], *numbers)
            return
        each = [array for pair in zip(of_weight, of_bias, strict=True) for array in pair]
        last = kernels.step_numbers(rule, dtype, *numbers)
        kernels.in_place(
            lambda *arrays: self._change(f"linear_{rule}", x, dy, n_in, *arrays, *last), tuple(each), dtype
        )

    def _change(self, name: str, x: Array, dy: Array, n_in: int, *args: Any) -> None:
        batch, n_out = dy.shape
        size = launch.tiles(n_in + 1, n_out), launch.THREADS
        kernels.run(name, (x.dtype,), *size, x, dy, batch, n_in, n_out, *args)


def functions(*, tf32: bool) -> dict[str, Any]:
    """Return all functions of `xpnet.nn` that have kernels, by name."""
    products = Products(tf32=tf32)
    return {**kernels.FUSED, "linear": products.linear, "linear_backward": products.linear_backward}


def _is_small(batch: int, n_in: int, n_out: int) -> bool:
    return batch * n_in * n_out <= LARGEST_PRODUCT
