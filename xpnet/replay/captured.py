"""What a step reaches besides its arguments, and whether that has changed.

A recorded step keeps what it read. Layers, optimizers and losses of `xpnet` cannot change; variables, globals
and objects of a user can. Of an object those attributes count that the code of the step names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.namespace import Namespace
from xpnet.replay.reach import Names, Search

# So often in a row a step is recorded anew because something that it reaches has changed, and never replayed.
_MOST_IN_VAIN = 3


class Captured:
    """What a step reaches besides its arguments, as it is now.

    Parameters
    ----------
    xp : Namespace
        It and its functions are taken not to change.
    step : callable

    Attributes
    ----------
    own : bool
        Whether all that the step is made of belongs to `xpnet`.
    """

    def __init__(self, xp: Namespace, step: Callable[..., Any]) -> None:
        names = Names(set(), set())
        while True:  # What is reached by one more name may name others.
            search = Search(xp, names)
            try:
                search.look(step)
            except Exception as e:  # An object of a user's may refuse to be looked at; the step still runs.
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
        """Return whether there is anything that could change."""
        return bool(self._watches)

    def change(self) -> str:
        """Return the name of something that has changed since; empty if nothing has."""
        for watch in self._watches:
            if changed := watch.change():
                return changed
        return ""

    def fault(self) -> str:
        """Return why the step, which has run since, must never be replayed; empty if it may be."""
        if any(stream.draws != draws for stream, draws in self._streams):
            return "the step draws random numbers on the host (a `Dropout` draws its masks there)"
        return self._refusal


class Patience:
    """How often a step may be recorded in vain, because of changes of what it reaches."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._by_the_step = False

    def reward(self) -> None:
        """Count from the beginning: the step was replayed."""
        self._in_vain = 0

    def changed(self, name: str) -> str:
        """Return why the step is not to be recorded anew after a change between calls; empty if it is."""
        self._in_vain += 1
        return f"`{name}` changes from call to call" if self._in_vain > _MOST_IN_VAIN else ""

    def changed_by_the_step(self, name: str) -> str:
        """Return the same after a change by the step itself, which may set something up in its first call."""
        again, self._by_the_step = self._by_the_step, True
        return f"the step changes `{name}`" if again else ""
