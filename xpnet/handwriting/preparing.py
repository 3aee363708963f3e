"""A picture of a digit, prepared step by step as MNIST's makers did."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from xpnet import checks
from xpnet.handwriting.boxes import box_of, fit
from xpnet.handwriting.greys import grey_of
from xpnet.handwriting.ink import ink_of, is_on_light, without_background
from xpnet.handwriting.widths import with_width

_BOX = 20 / 28  # MNIST's digits fit into a box of 20 x 20 pixels in images of 28 x 28
_LEAST_SIDE = 1 / 40  # of a digit, as a share of the picture's longer side, and in pixels
_LEAST_PIXELS = 3
# Of its ink: pixels for each of the longer side, and so many or such a share of the picture.
_LEAST_AREA = 1 / 8
_LEAST_INK, _LEAST_SHARE = 24, 1 / 150
# In longer sides of the digit: an 8 has strokes of 3, noise of hundreds; the edge of a table is broad.
_LONGEST, _BROADEST = 8.0, 0.4
_SOFTEST = 4.0  # pixels in which the ink of a sharp stroke begins; a shadow's begins in more
_ROUND = np.pi / 4  # the outline of a circle by the steps between its pixels
_SEEN = 0.1  # ink of a pixel that counts as part of the digit's box


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A picture after one step of its preparation.

    Attributes
    ----------
    name : str
        What was done.
    image : array, shape (height, width), uint8
    """

    name: str
    image: np.ndarray


def prepared(picture: Any, size: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Return the digit on a picture as an image like those of MNIST, shape `size`, uint8.

    Ink is bright on black, the longer side of the digit has 20 of 28 pixels, and its centre of mass is in the
    middle. For parameters and errors, see `steps`.
    """
    return steps(picture, size)[-1].image


def steps(picture: Any, size: tuple[int, int] = (28, 28)) -> tuple[Step, ...]:
    """Return a picture of a digit after each step of its preparation; the last one is what a model gets.

    The ink may be darker or brighter than the paper, and the light uneven. If there are several digits, the
    one with most ink is taken.

    Parameters
    ----------
    picture : array, shape (height, width) or (height, width, 3 or 4), uint8 or float in [0, 1]
    size : (height, width)
        Of the last step.

    Raises
    ------
    ImportError
        If Pillow is not installed, which resizes the picture.
    TypeError
        If the picture has another dtype.
    ValueError
        If it has another shape, is smaller than 3 x 3 pixels, or shows no digit.
    """
    height, width = _checked_size(size)
    grey = grey_of(picture)
    found = [("grey", grey)]
    if is_on_light(grey):
        grey = 1.0 - grey
        found.append(("inverted", grey))
    even = without_background(grey)
    ink = ink_of(even)
    # Brighter for the eye; `ink` has its own scale.
    found.append(("background removed", np.clip(even / max(even.max(), 1e-6), 0.0, 1.0)))
    digit = _cropped(ink)
    found.append(("cropped to the ink", digit))
    box = max(1, round(_BOX * min(height, width)))
    usual = with_width(digit, box)
    if usual is not digit:
        found.append(("usual stroke width", usual))
    small = fit(usual, box)
    small = small / small.max()
    found.append((f"scaled to {box} pixels", small))
    found.append(("centre of mass in the middle", _centred(small, height, width)))
    return tuple(Step(name, np.rint(image * 255).astype(np.uint8)) for name, image in found)


def _checked_size(size: Any) -> tuple[int, int]:
    found = checks.shape(size)
    if len(found) != 2 or 0 in found:
        raise ValueError(f"`size` must be (height, width), both above 0, got {size!r}")
    return found[0], found[1]


def _cropped(ink: np.ndarray) -> np.ndarray:
    """Return the part of an image that has ink, or raise if it does not look like a digit."""
    if ink.any():
        box, longer = box_of(ink > _SEEN), max(ink.shape)
        digit = ink[box.slices]
        area = max(_LEAST_AREA * longer, min(_LEAST_INK, _LEAST_SHARE * ink.size))
        is_large = box.longer >= max(_LEAST_PIXELS, _LEAST_SIDE * longer) and digit.sum() >= area
        if is_large and _is_drawn(digit):
            return digit
    raise ValueError(
        "no digit is found on the picture; pass one with a single digit in clear strokes, which takes up "
        "more of the picture and differs more from the paper"
    )


def _is_drawn(digit: np.ndarray) -> bool:
    """Return whether ink looks like strokes, and not like noise, a shadow or a part of the background."""
    longer, area = max(digit.shape), (digit > 0.5).sum()
    framed = np.pad(digit > 0.5, 1)
    outline = _ROUND * sum(np.diff(framed, axis=axis).sum() for axis in (0, 1))
    strokes, width = outline / 2, 2 * area / max(outline, 1)
    soft = ((digit > 0.25) & (digit < 0.75)).sum() / max(outline, 1)
    return bool(
        0 < strokes <= _LONGEST * longer and width <= _BROADEST * longer and soft <= max(_SOFTEST, width / 2)
    )


def _centred(digit: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a digit on black, its centre of mass in the middle, as far as it fits."""
    image = np.zeros((height, width), digit.dtype)
    places = []
    for axis, length in enumerate((height, width)):
        ink = digit.sum(axis=1 - axis)
        centre = (ink * np.arange(len(ink))).sum() / ink.sum()
        start = min(max(round(length / 2 - centre), 0), length - len(ink))
        places.append(slice(start, start + len(ink)))
    image[places[0], places[1]] = digit
    return image
