"""The memory of a device: the error when it runs out, and releasing it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from xpnet.errors import DeviceMemoryError
from xpnet.models import Sequential
from xpnet.namespace import Namespace


@contextlib.contextmanager
def watched(xp: Namespace, model: Sequential, *, dtype: str, batch_size: int) -> Iterator[None]:
    """Return a context for work in batches, at whose end memory that no array uses is released.

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
        fitting = min(free // bytes_per_image(model, dtype), batch_size - 1)
        raise DeviceMemoryError(f"backend {xp.name!r} on {xp.device_name()}", asked, free, fitting) from e
    finally:
        xp.release()


def bytes_per_image(model: Sequential, dtype: str) -> int:
    """Return the bytes per image in a training step: the outputs of layers and their gradients."""
    return np.dtype(dtype).itemsize * sum(_widths(model, model.n_in or 0))


def _widths(model: Sequential, width: int) -> Iterator[int]:
    yield width
    for layer in model.layers:
        if isinstance(layer, Sequential):
            yield from _widths(layer, width)
        width = getattr(layer, "n_out", None) or width
        yield 2 * width
