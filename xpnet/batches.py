"""Images on the device, and batches gathered from them."""

from __future__ import annotations

import dataclasses
import math
import mmap
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

    @property
    def ends(self) -> tuple[float, float]:
        """The numbers that pixels 0 and 255 become, the smaller first."""
        low, high = sorted((self.offset, 255 * self.scale + self.offset))
        return low, high

    def check(self, dtype: str) -> None:
        """Raise unless every pixel becomes a finite number in this dtype."""
        largest = max(map(abs, self.ends))
        if not largest <= np.finfo(dtype).max:
            raise ValueError(
                f"`scale` {self.scale!r} and `offset` {self.offset!r} make numbers up to {largest:g} of "
                f"pixels, which is beyond {dtype}; choose smaller ones, or train with `dtype='float64'`"
            )


class Batches:
    """Images on the device in the dtype they are stored in; gathering a batch converts it.

    Parameters
    ----------
    xp : Namespace
    images : NumPy array, shape (n, features) or (n, height, width, channels), uint8 or float
    dtype : {"float32", "float64"}
        Of the batches.
    scaling : Scaling
    name : str
        The caller's name for the images, for errors.
    keep : bool
        Whether later changes of `images` must have no effect. If False, memory may be shared with them.

    Raises
    ------
    ValueError
        If a value is not finite in `dtype`.
    """

    def __init__(
        self,
        xp: Namespace,
        images: np.ndarray,
        *,
        dtype: str,
        scaling: Scaling,
        name: str = "images",
        keep: bool = False,
    ) -> None:
        self.xp = xp
        self.dtype = getattr(xp, dtype)
        self.scaling = scaling if images.dtype == np.uint8 else Scaling(1.0, 0.0)
        if images.dtype == np.uint8:
            scaling.check(dtype)
            stored = np.ascontiguousarray(images)
            copy = True if keep and np.may_share_memory(stored, images) and _may_change(images) else None
        else:
            # Checked after copying, because the caller's array may change at any time.
            shared = keep and images.dtype == dtype and _may_change(images)
            stored, copy = _converted(name, images.copy() if shared else images, dtype), None
        # A new view, because a backend may store another form of the images under their array.
        self.images = xp.asarray(stored, copy=copy)[...]

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def gather(self, indices: Array) -> Array:
        """Return the images at `indices`, shape (batch, ...)."""
        return self.gather_from(self.xp, self.images, indices)

    def gather_from(self, xp: Namespace, images: Array, indices: Array) -> Array:
        """Return rows of `images`, which are stored and scaled as these are, shape (batch, ...)."""
        s = self.scaling
        return xp.nn.gather_batch(images, indices, scale=s.scale, offset=s.offset, dtype=self.dtype)

    def in_order(self, batch_size: int) -> Iterator[Array]:
        """Yield all images, `batch_size` at a time; the last batch has the rest."""
        for begin, end in spans(len(self), batch_size):
            yield self.gather(self.xp.arange(begin, end, dtype=self.xp.int32))


def _may_change(owner: Any) -> bool:
    """Return whether anyone can write to the memory of an array, perhaps through another array.

    A file that is mapped read-only counts as constant, because it may be too large to copy; what
    `xpnet.distributed.read_once` returns is such a file.
    """
    if isinstance(owner, np.ndarray):
        return owner.flags.writeable or (owner.base is not None and _may_change(owner.base))
    if isinstance(owner, memoryview):
        return not owner.readonly or _may_change(owner.obj)
    return not isinstance(owner, bytes | mmap.mmap)


def _converted(name: str, images: np.ndarray, dtype: str) -> np.ndarray:
    """Return floating-point images in this dtype, stored row by row, or raise if one is not finite."""
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(images, dtype)
    # Both are nan if any value is.
    if np.isfinite(converted.min()) and np.isfinite(converted.max()):
        return converted
    row = int(np.isfinite(converted).all(axis=tuple(range(1, images.ndim))).argmin())
    value = float(images[row][~np.isfinite(converted[row])][0])
    if math.isfinite(value):
        raise ValueError(
            f"`{name}` holds {value!r} in row {row}, which is beyond {dtype}; "
            "train with `dtype='float64'`, or scale the features"
        )
    raise ValueError(f"`{name}` must be finite, but row {row} holds {value!r}; repair or drop the row")


def spans(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of consecutive spans of `size` in ``range(n)``; the last may be shorter."""
    for begin in range(0, n, size):
        yield begin, min(begin + size, n)
