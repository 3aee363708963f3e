"""What Ctrl-C does to a command."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn


class Interruption(BaseException):
    """A person pressed Ctrl-C. Not a `KeyboardInterrupt`, for which Click prints an empty line.

    Attributes
    ----------
    run : Run
        Where `xpnet.fit` was interrupted, the run so far.
    """


def interrupt(*_: object) -> NoReturn:
    """Raise `Interruption`: the handler of the signal."""
    raise Interruption("interrupted")


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Return a context in which Ctrl-C does nothing, because many press it more than once."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
