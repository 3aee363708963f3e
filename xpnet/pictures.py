"""Images as pictures: in rows on a Matplotlib figure, or as characters in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_INK = " .:-=+*#%@"
_SIGNED = "#+ -="  # from strongly positive to strongly negative, by the bounds below
_FAINT, _STRONG = 0.15, 0.5  # shares of the largest magnitude


def as_text(image: Any, *, signed: bool = False) -> list[str]:
    """Return an image as lines of text, one character a pixel.

    Parameters
    ----------
    image : array_like, shape (height, width)
    signed : bool
        Whether the sign matters: ``+`` and ``#`` are positive, ``-`` and ``=`` negative, small magnitudes
        blank. If not, brighter pixels have darker characters, and those that are not positive are blank.
    """
    values = np.asarray(image, dtype=np.float64)
    share = values / (np.abs(values).max() or 1.0)
    if signed:
        places = np.digitize(-share, [-_STRONG, -_FAINT, _FAINT, _STRONG])
        return ["".join(_SIGNED[place] for place in row) for row in places]
    places = np.ceil(np.clip(share, 0, 1) * (len(_INK) - 1)).astype(int)
    return ["".join(_INK[place] for place in row) for row in places]


def side_by_side(*texts: Sequence[str], gap: str = "   ") -> str:
    """Return texts with equally many lines, of one width each, next to each other."""
    return "\n".join(gap.join(lines).rstrip() for lines in zip(*texts, strict=True))


def draw_images(
    figure: Any,
    images: Sequence[Any],
    title: str,
    *,
    columns: int,
    captions: Sequence[str] = (),
    signed: bool = False,
    bar: str = "",
) -> None:
    """Draw images on a Matplotlib figure or part of one, in rows, all on one scale of colours.

    Parameters
    ----------
    figure : Figure or SubFigure
    images : sequence of array_like, shape (height, width)
        At least one; the last row may have fewer than `columns`.
    title : str
    columns : int
        Images in a row.
    captions : sequence of str
        One above each image, or none.
    signed : bool
        Whether 0 is the middle: white, positive values red, negative ones blue.
    bar : str
        What the colours measure. If given, a colour bar is drawn, and the colours of numbers without a sign
        are those of "viridis"; if not, larger numbers are darker greys.
    """
    most = max(float(np.abs(image).max()) for image in images) or 1.0  # else all are 0
    colours = "RdBu_r" if signed else "viridis" if bar else "gray_r"
    rows = -(-len(images) // columns)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle(title, fontsize=10)
    for place in axes.flat:
        place.axis("off")
    for place, image in zip(axes.flat, images, strict=False):
        shown = place.imshow(image, cmap=colours, vmin=-most if signed else 0.0, vmax=most)
    for place, caption in zip(axes.flat, captions, strict=False):
        place.set_title(caption, fontsize=8)
    if bar:
        figure.colorbar(shown, ax=axes, label=bar, shrink=0.9, pad=0.02)
