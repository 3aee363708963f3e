"""How the images of a training were stored, scaled and named, and whether others are like them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from xpnet.batches import Scaling
from xpnet.datasets import Dataset

# How far values may lie outside of the range of training, in widths of it. Floats beside pixels should be
# such pixels scaled, perhaps with some noise; other floats may have outliers.
_MARGIN_BESIDE_PIXELS, _MARGIN = 0.25, 100.0
# Between images of the same kind the usual size differs less than the 255 between pixels and shares of them.
_FACTOR = 100.0
# The usual size of so many images is about that of the training; a single one may be blank.
_MANY = 30
# From so many images, spread over all, the usual size is found.
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
        The range of the features as they enter the model: for floats that of the values, for uint8 that which
        the pixels 0 to 255 can have.
    count : int
        The number of images.
    name : str or None
        The data set's own name, such as "mnist" or a folder.
    size : float or None
        The usual size: the median over images of the largest magnitude that enters the model. None if that is
        not known.
    """

    dtype: str
    low: float
    high: float
    count: int
    name: str | None = None
    size: float | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def of(cls, dataset: Dataset, scaling: Scaling) -> Inputs:
        """Return how the images of a data set enter a model."""
        images = dataset.images
        is_pixels = images.dtype == np.uint8
        low, high = scaling.ends if is_pixels else (float(images.min()), float(images.max()))
        size = _size(images, scaling if is_pixels else Scaling(1.0, 0.0))
        return cls(images.dtype.name, low, high, len(images), dataset.name, size)

    @property
    def is_pixels(self) -> bool:
        """Whether they are stored as uint8."""
        return self.dtype == "uint8"

    def __str__(self) -> str:
        what = "uint8 pixels, which enter the model as" if self.is_pixels else f"{self.dtype} values of"
        return f"{what} {self.low:g} to {self.high:g}"

    def check(self, name: str, other: Inputs) -> None:
        """Raise unless other images, which the caller knows as `name`, seem to be scaled like these.

        - Two sets of uint8 are.
        - Where one is uint8, the floats must lie within the range of the pixels, or a quarter of it outside.
        - Where both are floats, the others must lie within the range of these, or 100 times that outside,
          unless it is only some that are so far: unless their usual size is at most 100 times that of these.
        - The usual size of 30 floating-point images or more must not be below a hundredth of that of the
          others. Images that are mostly 0 have none.

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
    # From the least and the most, so that nothing as large as the sample is made.
    ends = [end.astype(np.float64) * scaling.scale + scaling.offset for end in (sample.min(1), sample.max(1))]
    return float(np.median(np.abs(ends).max(axis=0)))


def _is_in_range(floats: Inputs, beside: Inputs) -> bool:
    width = beside.high - beside.low
    if width == 0 or not max(abs(floats.low), abs(floats.high)) <= _LARGEST:
        return True  # There is no scale, or what is wrong with the values is said where they enter.
    margin = _MARGIN_BESIDE_PIXELS if beside.is_pixels else _MARGIN
    if beside.low - margin * width <= floats.low and floats.high <= beside.high + margin * width:
        return True
    return not beside.is_pixels and _ratio(floats, beside) <= _FACTOR


def _is_as_large(floats: Inputs, beside: Inputs) -> bool:
    return floats.count < _MANY or not _ratio(floats, beside) < 1 / _FACTOR


def _ratio(floats: Inputs, beside: Inputs) -> float:
    """Return the ratio of the usual sizes; if one is 0 or not known, nan, which no comparison is true of."""
    return floats.size / beside.size if floats.size and beside.size else math.nan
