"""Matplotlib figures: made, checked and written to files."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Callable
from typing import Any

from xpnet.files import write_whole


def check(path: str | os.PathLike[str]) -> None:
    """Raise unless a plot can be written to `path`.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    ValueError
        If Matplotlib does not write files with that suffix.
    """
    formats = _new_figure().canvas.get_supported_filetypes()
    suffix = pathlib.Path(path).suffix.lower().removeprefix(".")
    if suffix not in formats:
        raise ValueError(
            f"cannot draw {str(path)!r}: its suffix is {suffix!r}; choose one of {', '.join(sorted(formats))}"
        )


def drawn(draw: Callable[[Any, Any], object], what: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Return a Matplotlib figure on which ``draw(figure, what)`` has drawn, and write it if there is a path.

    Raises
    ------
    ImportError, ValueError
        See `check`.
    OSError
        If the file cannot be written.
    """
    if path is not None:
        check(path)
    figure = _new_figure(figsize=(8.0, 4.0), layout="constrained")
    draw(figure, what)
    if path is not None:
        save(figure, path)
    return figure


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a Matplotlib figure to `path`, whole or not at all; the suffix names the format."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=pathlib.Path(path).suffix.lower().removeprefix("."))
    write_whole(path, picture.getvalue())


def _new_figure(**options: Any) -> Any:
    try:
        from xpnet.plots.shown import ShownFigure
    except ImportError as e:
        raise ImportError(
            f"a picture needs Matplotlib: {e}; install it with `pip install 'xpnet[plot]'`"
        ) from e
    return ShownFigure(**options)
