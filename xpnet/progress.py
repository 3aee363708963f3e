"""A progress bar, shown only in a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

# Held by the bar that is shown: a terminal has room for one, and Rich before 14.1 refuses a second.
_shown = threading.Lock()


@contextlib.contextmanager
def progress_bar(total: int, what: str, *, show: bool | None = None) -> Iterator[Callable[[int], object]]:
    """Return a context with a function that advances the bar by a number of steps.

    The function does nothing if no bar is shown.

    Parameters
    ----------
    total : int
        The number of steps.
    what : str
        Text before the bar.
    show : bool, optional
        If omitted, the bar is shown if standard output is a terminal. It is never shown if standard output is
        closed, or while another bar is shown.
    """
    wanted = is_terminal() if show is None else show
    if not wanted or not _is_open() or not _shown.acquire(blocking=False):
        yield lambda steps: None
        return
    try:
        with _bar(total, what) as advance:
            yield advance
    finally:
        _shown.release()


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    with contextlib.suppress(Exception):  # Standard output may be None or any object.
        return bool(sys.stdout.isatty())
    return False


def _is_open() -> bool:
    with contextlib.suppress(Exception):
        return hasattr(sys.stdout, "write") and not getattr(sys.stdout, "closed", False)
    return False


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], object]]:
    # Imported here, because `import xpnet` must not pay for Rich.
    from rich import console, file_proxy, progress

    if isinstance(sys.stdout, file_proxy.FileProxy):  # The user shows a display of Rich.
        yield lambda steps: None
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    # A separate console, because Rich before 14.1 refuses a second display on one.
    screen: Any = console.Console(file=_Screen(sys.stdout))  # type: ignore[arg-type]
    with progress.Progress(*columns, console=screen, transient=True, refresh_per_second=5) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


class _Screen:
    """Standard output with its errors ignored, because it may be closed while the bar is shown."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(self._stream.isatty())
        return False

    def write(self, text: str) -> int:
        with contextlib.suppress(Exception):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(Exception):
            self._stream.flush()
