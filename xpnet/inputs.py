"""How the images of a training were stored, scaled and named, and whether others are like them."""

from __future__ import annotations

import dataclasses

import numpy as np

from xpnet.batches import Scaling
from xpnet.datasets import Dataset

# How far values may lie outside of the range of training, in widths of it. Floats beside pixels should be
# such pixels scaled, perhaps with some noise; other floats may have outliers, but not 255 times as far.
_MARGIN_BESIDE_PIXELS, _MARGIN = 0.25, 100.0
# So many images vary about as much as those of the training; a single one may be blank.
_MANY = 30
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
    """

    dtype: str
    low: float
    high: float
    count: int
    name: str | None = None

    @classmethod
    def of(cls, dataset: Dataset, scaling: Scaling) -> Inputs:
        """Return how the images of a data set enter a model."""
        images = dataset.images
        is_pixels = images.dtype == np.uint8
        low, high = scaling.ends if is_pixels else (float(images.min()), float(images.max()))
        return cls(images.dtype.name, low, high, len(images), dataset.name)

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
        - Where both are floats, the others must lie within the range of these, or 100 times that outside.
        - 30 floating-point images or more must not vary by less than a hundredth of the range, unless all
          their values are equal.

        Raises
        ------
        ValueError
        """
        if self.is_pixels and other.is_pixels:
            return
        if other.is_pixels:
            is_like = _is_like(other, self, _MARGIN_BESIDE_PIXELS)
        else:
            is_like = _is_like(self, other, _MARGIN_BESIDE_PIXELS if self.is_pixels else _MARGIN)
        if not is_like:
            raise ValueError(
                f"`{name}` holds {other}, but the model is trained on {self}; "
                "pass images that are stored and scaled in the same way"
            )


def _is_like(reference: Inputs, floats: Inputs, margin: float) -> bool:
    width, found = reference.high - reference.low, floats.high - floats.low
    if width == 0 or not max(abs(floats.low), abs(floats.high)) <= _LARGEST:
        return True  # There is no scale, or what is wrong with the values is said where they enter.
    if floats.low < reference.low - margin * width or floats.high > reference.high + margin * width:
        return False
    return floats.count < _MANY or found == 0 or found >= width / 100
