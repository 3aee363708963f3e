"""Other functions in the place of `xp.nn`, for the thread that records or tries a step only."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any


class _ByThread:
    """The functions of a namespace while some threads have others in their place.

    An object of its own, so that a look-up of `xp.nn` costs nothing while no thread has.
    """

    __slots__ = ("functions", "others")

    def __init__(self, functions: Any) -> None:
        object.__setattr__(self, "functions", functions)
        object.__setattr__(self, "others", {})  # by thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self.others.get(threading.get_ident(), self.functions), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.functions, name, value)


# Held while `xp.nn` changes hands, never while a step runs. A fork waits for it.
_changing = threading.RLock()
_changed: list[Any] = []  # the namespaces whose `nn` is a `_ByThread`


def own_functions(xp: Any) -> Any:
    """Return the functions of a namespace, whatever a thread that records has in their place."""
    found = xp.nn
    return found.functions if type(found) is _ByThread else found


def is_replaced(xp: Any) -> bool:
    """Return whether this thread has other functions in the place of a namespace's."""
    found = xp.nn
    return type(found) is _ByThread and threading.get_ident() in found.others


@contextlib.contextmanager
def replaced(xp: Any, functions: Any) -> Iterator[None]:
    """Let a namespace have other functions for a while, for this thread only."""
    thread = threading.get_ident()
    with _changing:
        if type(xp.nn) is not _ByThread:
            xp.nn = _ByThread(xp.nn)
            _changed.append(xp)
        xp.nn.others[thread] = functions
    try:
        yield
    finally:
        with _changing:
            del xp.nn.others[thread]
            _restore()


def _restore() -> None:
    """Give the namespaces their own functions back of which no thread has others."""
    for xp in [xp for xp in _changed if not xp.nn.others]:
        xp.nn = xp.nn.functions
        _changed.remove(xp)


def _forget_other_threads() -> None:
    """Drop what threads of the parent process, which do not exist in this one, have in place."""
    for xp in _changed:
        for thread in xp.nn.others.keys() - {threading.get_ident()}:
            del xp.nn.others[thread]
    _restore()
    _changing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_changing.acquire,
        after_in_parent=_changing.release,
        after_in_child=_forget_other_threads,
    )
