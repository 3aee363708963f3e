"""The memory of a device: the error when it runs out, and releasing it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xpnet.errors import DeviceMemoryError
from xpnet.layer import Shape
from xpnet.models import Residual, Sequential
from xpnet.namespace import Namespace
from xpnet.widths import shape_after


@contextlib.contextmanager
def watched(
    xp: Namespace, model: Sequential, *, dtype: str, batch_size: int, image: Shape | None = None
) -> Iterator[None]:
    """Return a context for work in batches, at whose end memory that no array uses is released.

    `image` is the shape of an image, which counts if the model takes images.

    Raises
    ------
    DeviceMemoryError
        If the device is out of memory.
    """
    try:
        yield
    except Exception as e:
        found = xp.shortage(e)
        if found is None:
            raise
        asked, free = found
        fitting = min(free // bytes_per_image(model, dtype, image), batch_size - 1)
        raise DeviceMemoryError(f"backend {xp.name!r} on {xp.device_name()}", asked, free, fitting) from e
    finally:
        xp.release()


def bytes_per_image(model: Sequential, dtype: str, image: Shape | None = None) -> int:
    """Return the bytes per image in a training step: the outputs of layers and their gradients."""
    entering = image if model.n_in is None else (model.n_in,)
    return np.dtype(dtype).itemsize * sum(_sizes(model.layers, entering))


def _sizes(layers: Sequence[Any], shape: Shape | None) -> Iterator[int]:
    yield _size(shape)
    for layer in layers:
        if isinstance(layer, Sequential | Residual):
            yield from _sizes(layer.layers, shape)
        shape = shape_after(layer, shape)
        yield 2 * _size(shape)


def _size(shape: Shape | None) -> int:
    return math.prod(length or 1 for length in shape or (0,))
