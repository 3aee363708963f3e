"""What is raised when the processes of a group do not fit each other."""

from __future__ import annotations

import contextlib
import traceback
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class DistributedError(RuntimeError):
    """Processes cannot train together, or one of them has failed."""


def of_all(error: _Error, rank: int, size: int) -> _Error:
    """Return an exception with the mark that all ranks of a group raise one, so that none waits for another.

    Parameters
    ----------
    error : BaseException
    rank, size : int
        Of this process in the group, and of the group.
    """
    with contextlib.suppress(AttributeError, TypeError):
        error.of_all_ranks = rank, size  # type: ignore[attr-defined]
    return error


def rank_of_all(error: BaseException, size: int) -> int | None:
    """Return this rank in the group that raises an exception; None if fewer than `size` ranks raise it."""
    rank, found = getattr(error, "of_all_ranks", (None, 0))
    return rank if found >= size else None


def is_on_purpose(error: BaseException) -> bool:
    """Return whether a line says all about an exception; of others, the traceback is needed."""
    kinds = ValueError, OSError, MemoryError, KeyboardInterrupt, SystemExit
    is_ours = type(error).__module__.partition(".")[0] == "xpnet"
    return isinstance(error, kinds) or is_ours or _is_check(error)


def _is_check(error: BaseException) -> bool:
    """Return whether xpnet raised a TypeError about an argument, which it names in backticks."""
    frames = list(traceback.walk_tb(error.__traceback__))
    is_ours = bool(frames) and frames[-1][0].f_globals.get("__name__", "").partition(".")[0] == "xpnet"
    return isinstance(error, TypeError) and is_ours and str(error).count("`") >= 2


def failure(error: BaseException) -> str:
    """Return the type and the text of an exception, on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception as e:
        text = f"its text raises {type(e).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
