"""Stored images by the indices of a batch, which the first layer scales as it reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from xpnet_cupy import kernels

Array = Any


class Stored:
    """A batch of stored images, in the place of the array that `xpnet.nn.gather_batch` would make of them.

    Parameters
    ----------
    images : array, shape (n, ...), uint8
    indices : array, shape (batch,), int32
    shape : tuple of int
        Of the batch.
    scale, offset : float
    dtype : dtype
    """

    def __init__(
        self,
        images: Array,
        indices: Array,
        *,
        shape: tuple[int, ...],
        scale: float,
        offset: float,
        dtype: Any,
    ) -> None:
        self.shape, self.dtype = shape, numpy.dtype(dtype)
        kernels.check_not_empty(len(images), indices)
        images, indices = (kernels.ready(x, x.dtype) for x in (images, indices))
        self.arguments = images, indices, len(images), self.dtype.type(scale), self.dtype.type(offset)
        """What kernels take in the place of an array."""


def given(x: Array | Stored, dtype: numpy.dtype) -> tuple[str, tuple[Any, ...], Any]:
    """Return how the names of kernels that read an input end, what they take in its place, and the input."""
    if isinstance(x, Stored):
        return "_of_stored", x.arguments, x
    x = kernels.ready(x, dtype)
    return "", (x,), x


def reading(run: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """Return a function of images, indices and other arrays, given one of an input and these."""
    return lambda images, indices, *others: run(Stored(images, indices, **how), *others)
