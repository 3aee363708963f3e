"""The error of a peer that cannot be used here."""

import contextlib
from collections.abc import Iterator

from xpnet_bench.errors import UnusableError


class PeerUnavailableError(UnusableError):
    """A known peer cannot be used here.

    Attributes
    ----------
    name : str
        The peer that was asked for.
    cause : str
        What was found.
    remedy : str
        What to do about it.
    """

    def __init__(self, name: str, cause: str, remedy: str) -> None:
        super().__init__(name, cause, remedy)
        self.name = name
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"peer {self.name!r} cannot be used: {self.cause}; {self.remedy}"


class NoEqualError(Exception):
    """A library has nothing that computes the same; the text says what it lacks, as "its X does Y"."""


@contextlib.contextmanager
def lacking(name: str) -> Iterator[None]:
    """Raise a `PeerUnavailableError` of this peer where its library has no equal."""
    try:
        yield
    except NoEqualError as e:
        raise PeerUnavailableError(name, str(e), "it is left out") from e
