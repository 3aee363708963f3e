"""What is raised when the processes of a group do not fit each other."""

from __future__ import annotations

import contextlib

from xpnet.errors import TrainingDivergedError


class DistributedError(RuntimeError):
    """Processes cannot train together, or one of them has failed."""


def of_all(error: BaseException) -> BaseException:
    """Return an exception with the mark that all ranks raise one, so that none waits for another."""
    with contextlib.suppress(AttributeError, TypeError):
        error.of_all_ranks = True  # type: ignore[attr-defined]
    return error


def is_of_all(error: BaseException) -> bool:
    """Return whether all ranks raise an exception when this one does."""
    return isinstance(error, TrainingDivergedError) or getattr(error, "of_all_ranks", False)


def is_on_purpose(error: BaseException) -> bool:
    """Return whether a line says all about an exception; of others, the traceback is needed."""
    kinds = ValueError, OSError, MemoryError, KeyboardInterrupt, SystemExit
    return isinstance(error, kinds) or type(error).__module__.partition(".")[0] == "xpnet"


def failure(error: BaseException) -> str:
    """Return the type and the text of an exception, on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception as e:
        text = f"its text raises {type(e).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
