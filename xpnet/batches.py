"""Images on the device, from which batches are gathered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet.checks import finite, set_fields
from xpnet.namespace import Namespace

Array = Any


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How stored images become numbers: uint8 pixels as ``pixel * scale + offset``, floats as they are."""

    scale: float = 1 / 255
    offset: float = 0.0

    def __post_init__(self) -> None:
        set_fields(self, scale=finite, offset=finite)


class Batches:
    """Images that stay as they are stored until a batch of them is gathered.

    Parameters
    ----------
    xp : Namespace
    images : NumPy array, shape (n, features), uint8 or float
    dtype : {"float32", "float64"}
        Of the batches.
    scaling : Scaling
    """

    def __init__(self, xp: Namespace, images: np.ndarray, *, dtype: str, scaling: Scaling) -> None:
        self.xp = xp
        self.dtype = getattr(xp, dtype)
        self.scaling = scaling if images.dtype == np.uint8 else Scaling(1.0, 0.0)
        if images.dtype != np.uint8:
            images = images.astype(dtype, copy=False)
        # A new view, because a backend may keep another form of images that it knows by their array.
        self.images = xp.asarray(images)[...]

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def gather(self, indices: Array) -> Array:
        """Return the images number `indices`, shape (batch, features)."""
        return self.gather_from(self.images, indices)

    def gather_from(self, images: Array, indices: Array) -> Array:
        """Return rows of `images`, which are stored and scaled as these are, shape (batch, features)."""
        s = self.scaling
        return self.xp.nn.gather_batch(images, indices, scale=s.scale, offset=s.offset, dtype=self.dtype)

    def in_order(self, batch_size: int) -> Iterator[Array]:
        """Yield all images, `batch_size` at a time; the last batch holds the rest."""
        for begin, end in spans(len(self), batch_size):
            yield self.gather(self.xp.arange(begin, end, dtype=self.xp.int32))


def spans(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of consecutive spans of `size` in ``range(n)``; the last may be shorter."""
    for begin in range(0, n, size):
        yield begin, min(begin + size, n)
