"""A figure of how pictures were prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xpnet.errors import shortened
from xpnet.plots.figures import drawn

if TYPE_CHECKING:
    from xpnet.handwriting import Step

_SIDE = 1.6  # inches of a picture
_MOST_OF_A_NAME = 30


def plot_steps(pictures: Mapping[str, Sequence[Step]], *, save: str | os.PathLike[str] | None = None) -> Any:
    """Return a figure of the steps in which pictures were prepared, one row for each picture.

    Parameters
    ----------
    pictures : mapping of str to sequences of Step
        What `xpnet.handwriting.steps` returns, by the names of the pictures.
    save : str or path, optional
        Where to write the figure; the suffix names the format: PNG, SVG or PDF.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    return drawn(_draw, pictures, save)


def _draw(figure: Any, pictures: Mapping[str, Sequence[Step]]) -> None:
    columns = max(map(len, pictures.values()))
    figure.set_size_inches(_SIDE * columns + 0.4, (_SIDE + 0.3) * len(pictures))
    axes = figure.subplots(len(pictures), columns, squeeze=False)
    for row, (name, steps) in zip(axes, pictures.items(), strict=True):
        for place in row:
            place.set_axis_off()
        for place, step in zip(row, steps, strict=False):
            place.imshow(step.image, cmap="gray", vmin=0, vmax=255)
            place.set_title(step.name, fontsize=7)
        title = shortened(name, _MOST_OF_A_NAME).replace("$", r"\$")
        row[0].text(
            -0.08, 0.5, title, rotation=90, fontsize=7, ha="right", va="center", transform=row[0].transAxes
        )
