"""A progress bar where a person watches, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(total: int, what: str, *, show: bool | None = None) -> Iterator[Callable[[int], object]]:
    """Give a function that moves the bar on by so many steps.

    Parameters
    ----------
    total : int
        The number of steps.
    what : str
        Stands before the bar.
    show : bool, optional
        If omitted, the bar is shown where standard output is a terminal.
    """
    if show is None:
        show = sys.stdout is not None and sys.stdout.isatty()
    if not show:
        yield lambda steps: None
        return
    # Imported here, because `import xpnet` must not pay for Rich.
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, transient=True, refresh_per_second=5) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)
