"""A line for each epoch, where standard output is no terminal that could show a bar."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from xpnet.progress import is_terminal
from xpnet.run import Epoch

_FIRST = 10  # lines that are printed however fast they come
_PAUSE = 0.5  # seconds from one line to the next after these


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """Return an epoch of so many as text: the figures that it has, and the seconds that it took."""
    parts = [f"epoch {epoch.epoch:{len(str(epochs))}}/{epochs}", f"train loss {epoch.train_loss:.4f}"]
    for what in ("validation", "test"):
        loss, accuracy = (getattr(epoch, f"{what}_{figure}") for figure in ("loss", "accuracy"))
        parts += [] if loss is None else [f"{what} loss {loss:.4f}"]
        parts += [] if accuracy is None else [f"{what} accuracy {accuracy:.2%}"]
    return "   ".join([*parts, f"{epoch.seconds:#.3g} s"])


@contextlib.contextmanager
def epoch_lines(
    epochs: int, *, show: bool | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Epoch], None]]:
    """Return a context with a function that prints a line about the epoch that it is given.

    The first 10 epochs are all printed, later ones at most every half second, and the last one always: at the
    end of the context at the latest, also if an exception ends it. Standard output that is closed or fails is
    no error.

    Parameters
    ----------
    epochs : int
        How many there will be.
    show : bool, optional
        With a value, nothing is printed: then a bar is shown, or nothing. If omitted, lines are printed
        unless standard output is a terminal.
    clock : callable
        Returns seconds.
    """
    wanted = show is None and not is_terminal()
    printed, last, late = 0, -_PAUSE, None

    def tell(epoch: Epoch) -> None:
        nonlocal printed, last, late
        late = epoch
        if wanted and (printed < _FIRST or epoch.epoch >= epochs or clock() - last >= _PAUSE):
            _say(epoch_line(epoch, epochs))
            printed, last, late = printed + 1, clock(), None

    try:
        yield tell
    finally:
        if wanted and late is not None:
            _say(epoch_line(late, epochs))


def _say(text: str) -> None:
    """Print a line at once; a training must not end because standard output is closed or fails."""
    with contextlib.suppress(Exception):
        print(text, flush=True)
