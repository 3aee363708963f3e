"""The figure that the plots return; loaded late, because `import xpnet` must not pay for Matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A Matplotlib figure that a notebook shows, also without pyplot; it is saved and changed like any."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()
