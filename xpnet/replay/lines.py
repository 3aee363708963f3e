"""The line of a step's code that runs, for reports."""

from __future__ import annotations

import linecache
import os
import sys
import types
from collections.abc import Iterable

from xpnet.errors import shortened

_LIBRARIES = frozenset(("xpnet", "xpnet_numpy", "xpnet_numba", "xpnet_cupy", "numpy", "array_api_compat"))
_MOST_CHARACTERS = 80  # of a line
_Place = tuple[types.FrameType, int]


def running_line(error: BaseException | None = None) -> str:
    """Return the line of a user's code that runs, or that raised an error: ```layers.py:12: y = float(x)```.

    If the step has no code of a user's, it is a line of `xpnet`.
    """
    places = [*(_running() if error is None else _raised(error))]
    outside = [place for place in places if not _module(place).startswith("xpnet.replay")]
    users = (place for place in outside if _module(place).partition(".")[0] not in _LIBRARIES)
    frame, number = next(users, (outside or places)[0])
    path = frame.f_code.co_filename
    source = shortened(linecache.getline(path, number, frame.f_globals).strip(), _MOST_CHARACTERS)
    return f"`{os.path.basename(path)}:{number}{': ' if source else ''}{source}`"


def _module(place: _Place) -> str:
    return str(place[0].f_globals.get("__name__", ""))


def _running() -> Iterable[_Place]:
    """Yield the frames of a step that is traced and their lines, the innermost first."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and not _traces(frame):
        yield frame, frame.f_lineno
        frame = frame.f_back


def _raised(error: BaseException) -> list[_Place]:
    places: list[_Place] = []
    traceback = error.__traceback__
    while traceback is not None:
        places = [] if _traces(traceback.tb_frame) else [(traceback.tb_frame, traceback.tb_lineno), *places]
        traceback = traceback.tb_next
    return places


def _traces(frame: types.FrameType) -> bool:
    return frame.f_code.co_name == "trace" and frame.f_globals.get("__name__") == "xpnet.replay.tracing"
