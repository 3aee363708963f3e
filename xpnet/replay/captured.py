"""What a step reaches besides its arguments, and whether that has changed.

A recorded step keeps the values that it read. Layers, optimizers and losses of `xpnet` cannot change; a
user's variables, globals and objects can. Of an object, only the attributes that the step's code names count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.namespace import Namespace
from xpnet.replay.reach import Names, Search

# How many times in a row a step is recorded again because of a change, without being replayed in between.
_MOST_IN_VAIN = 3


class Captured:
    """Snapshot of what a step reaches besides its arguments.

    Parameters
    ----------
    xp : Namespace
        Assumed not to change, nor its functions.
    step : callable
    is_plain : callable, optional
        See `Search`.

    Attributes
    ----------
    own : bool
        Whether the step consists only of code of `xpnet`, and of what counts as such.
    """

    def __init__(
        self,
        xp: Namespace,
        step: Callable[..., Any],
        *,
        is_plain: Callable[[type], bool] = lambda kind: False,
    ) -> None:
        names = Names(set(), set())
        while True:  # What one more name reaches may name others.
            search = Search(xp, names, is_plain)
            try:
                search.look(step)
            except Exception as e:  # A user's object may raise when it is inspected; the step still runs.
                search.own = False
                search.refusal = f"what the step reaches cannot be watched: {type(e).__name__}: {e}"
            if search.names == names:
                break
            names = search.names
        self.own = search.own
        self._refusal = search.refusal
        self._watches = search.watches
        self._streams = [(stream, stream.draws) for stream in search.streams]

    def __bool__(self) -> bool:
        """Return whether anything could change."""
        return bool(self._watches)

    def change(self) -> str:
        """Return the name of something that has changed since the snapshot; empty if nothing has."""
        for watch in self._watches:
            if changed := watch.change():
                return changed
        return ""

    def fault(self) -> str:
        """Return why the step, which has run since, must never be replayed; empty if it may be."""
        if any(stream.draws != draws for stream, draws in self._streams):
            return "the step draws random numbers on the host (`Dropout` does not, given `stream.at(step)`)"
        return self._refusal


class Patience:
    """Limits how often a step is recorded in vain because something that it reaches changes."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._by_the_step = False

    def reward(self) -> None:
        """Reset the count, because the step was replayed."""
        self._in_vain = 0

    def changed(self, name: str) -> str:
        """Return why not to record the step again after a change between calls; empty if it may be."""
        self._in_vain += 1
        return f"`{name}` changes from call to call" if self._in_vain > _MOST_IN_VAIN else ""

    def changed_by_the_step(self, name: str) -> str:
        """Return the same after a change by the step itself, which may do so once, in its first call."""
        again, self._by_the_step = self._by_the_step, True
        return f"the step changes `{name}`" if again else ""
