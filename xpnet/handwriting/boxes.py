"""The smallest box around what a mask selects, and images resized with antialiasing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xpnet.datasets.pictures import pillow


class Box(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def longer(self) -> int:
        """The longer side."""
        return max(self.bottom - self.top, self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """What selects it from an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def box_of(mask: np.ndarray) -> Box:
    """Return the smallest box around the pixels of a mask, which selects at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image of floats at another size, antialiased where it gets smaller."""
    if image.shape == (height, width):
        return image
    shrinks = height * width < image.size
    library = pillow()
    how = library.Resampling.BOX if shrinks else library.Resampling.BICUBIC
    found = library.fromarray(image.astype(np.float32)).resize((width, height), how)
    return np.clip(np.asarray(found), 0.0, 1.0)


def fit(image: np.ndarray, longer: int) -> np.ndarray:
    """Return an image whose longer side has this length, with its proportions."""
    height, width = image.shape
    share = longer / max(height, width)
    return resized(image, max(1, round(height * share)), max(1, round(width * share)))
