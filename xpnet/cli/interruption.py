"""How Ctrl-C and signals stop a command."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

# A scheduler or `kill` sends SIGTERM; a terminal that closes sends SIGHUP, which Windows does not have.
_SIGNALS = {
    getattr(signal, name): text
    for name, text in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if hasattr(signal, name)
}


class Interruption(BaseException):
    """Ctrl-C or another signal stopped the command. Click prints an empty line for `KeyboardInterrupt`.

    Attributes
    ----------
    status : int
        The exit status: 128 + the number of the signal.
    run : Run
        If `xpnet.fit` was interrupted, the run so far.
    """

    def __init__(self, text: str = "interrupted", status: int = 128 + signal.SIGINT) -> None:
        super().__init__(text)
        self.status = status


def listen() -> None:
    """Make the signals that end a command raise `Interruption`, unless they are ignored, as under nohup."""
    for number in _SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def interrupt(number: int = signal.SIGINT, *_: object) -> NoReturn:
    """Raise `Interruption`; the signals' handler."""
    raise Interruption(_SIGNALS[number], 128 + number)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Return a context in which the signals do nothing, because people press Ctrl-C more than once."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
