"""How training images were stored, scaled and named, and whether other images match them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from xpnet.batches import Scaling
from xpnet.datasets import Dataset

# How far values may lie outside the range of the training images, in widths of that range. Floats used with
# pixels should be such pixels scaled, perhaps with noise; other floats may have outliers.
_MARGIN_BESIDE_PIXELS, _MARGIN = 0.25, 100.0
# Typical sizes of images of one kind differ by less than 255, the factor between pixels 0 to 255 and 0 to 1.
_FACTOR = 100.0
# From this many images on, the typical size is close to that of the training images; one alone may be blank.
_MANY = 30
# The typical size is computed from this many images, evenly spaced.
_SAMPLE = 1000
_LARGEST = float(np.finfo("float32").max)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """How images are stored, scaled and named.

    Attributes
    ----------
    dtype : str
        As stored: uint8, float32 or float64.
    low, high : float
        The range of the features as they enter the model: that of the values of floats, or that of the pixels
        0 to 255.
    count : int
        The number of images.
    name : str or None
        The data set's own name, such as "mnist" or a folder.
    size : float or None
        The typical size: the median over images of the largest magnitude that enters the model. None if
        unknown.
    shape : tuple of int or None
        (height, width, channels) of each image; None if they are rows of features, or if unknown.
    has_channels : bool
        Whether images were stored with an axis of channels.
    """

    dtype: str
    low: float
    high: float
    count: int
    name: str | None = None
    size: float | None = dataclasses.field(default=None, compare=False)
    shape: tuple[int, int, int] | None = None
    has_channels: bool = True

    @classmethod
    def of(cls, dataset: Dataset, scaling: Scaling) -> Inputs:
        """Return a description of how the images of a data set enter a model."""
        images = dataset.images
        is_pixels = images.dtype == np.uint8
        low, high = scaling.ends if is_pixels else (float(images.min()), float(images.max()))
        size = _size(images, scaling if is_pixels else Scaling(1.0, 0.0))
        shape = None if images.ndim == 2 else (*images.shape[1:], 1)[:3]
        return cls(images.dtype.name, low, high, len(images), dataset.name, size, shape, images.ndim != 3)

    def about(self) -> dict[str, Any]:
        """Return the attributes for a file, without `shape` and `has_channels` if these are as of rows."""
        found = dataclasses.asdict(self)
        as_of_rows = {"shape": None, "has_channels": True}
        return {k: v for k, v in found.items() if k not in as_of_rows or v != as_of_rows[k]}

    @property
    def stored_shape(self) -> tuple[int, ...] | None:
        """The shape of an image as it was stored, (height, width) if it had no axis of channels."""
        return self.shape if self.shape is None or self.has_channels else self.shape[:2]

    @property
    def is_pixels(self) -> bool:
        """Whether they are stored as uint8."""
        return self.dtype == "uint8"

    def __str__(self) -> str:
        what = "uint8 pixels, which enter the model as" if self.is_pixels else f"{self.dtype} values of"
        return f"{what} {self.low:g} to {self.high:g}"

    def check(self, name: str, other: Inputs) -> None:
        """Raise unless other images, which the caller knows as `name`, seem to be scaled like these.

        - Two sets of uint8 images match.
        - If one set is uint8, the floats must lie in the range of the pixels, or outside it by at most a
          quarter of its width.
        - If both are floats, the other images must lie in the range of these, or outside it by at most 100
          times its width. More is allowed if their typical size is at most 100 times that of these, because
          then only a few values are so far away.
        - The typical size of 30 floating-point images or more must be at least a hundredth of the other one.
          This is not checked if either is 0, as for images that are mostly 0.

        Raises
        ------
        ValueError
        """
        if self.is_pixels and other.is_pixels:
            return
        floats, beside = (self, other) if other.is_pixels else (other, self)
        if not (_is_in_range(floats, beside) and _is_as_large(floats, beside)):
            raise ValueError(
                f"`{name}` holds {other}, but the model is trained on {self}; "
                "pass images that are stored and scaled in the same way"
            )


def _size(images: np.ndarray, scaling: Scaling) -> float:
    sample = images[:: -(-len(images) // _SAMPLE)]
    features = tuple(range(1, sample.ndim))
    # From the minima and maxima, so that no array as large as the sample is allocated.
    found = sample.min(features), sample.max(features)
    ends = [end.astype(np.float64) * scaling.scale + scaling.offset for end in found]
    return float(np.median(np.abs(ends).max(axis=0)))


def _is_in_range(floats: Inputs, beside: Inputs) -> bool:
    width = beside.high - beside.low
    if width == 0 or not max(abs(floats.low), abs(floats.high)) <= _LARGEST:
        return True  # There is no scale, or another check reports the values.
    margin = _MARGIN_BESIDE_PIXELS if beside.is_pixels else _MARGIN
    if beside.low - margin * width <= floats.low and floats.high <= beside.high + margin * width:
        return True
    return not beside.is_pixels and _ratio(floats, beside) <= _FACTOR


def _is_as_large(floats: Inputs, beside: Inputs) -> bool:
    return floats.count < _MANY or not _ratio(floats, beside) < 1 / _FACTOR


def _ratio(floats: Inputs, beside: Inputs) -> float:
    """Return the ratio of the typical sizes; nan, for which comparisons are False, if one is 0 or unknown."""
    return floats.size / beside.size if floats.size and beside.size else math.nan
