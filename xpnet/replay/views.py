"""Which values of a trace are views of others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy

from xpnet.replay.recorded import Array, Recorded
from xpnet.replay.trace import Value


class Views:
    """The values that share memory with others, and those of them that must not be used any more.

    A program has copies in the place of views, so these must not see later changes.
    """

    def __init__(self) -> None:
        self._bases: dict[Value, set[Value]] = {}
        self._stale: set[Value] = set()

    def add(self, value: Value, array: Array, given: Iterable[Recorded]) -> None:
        """Note on which arguments a result of a call is a view."""
        for x in given:
            if numpy.may_share_memory(array, x.array):
                self._bases.setdefault(value, set()).update((x.value, *self._bases.get(x.value, ())))

    def change(self, values: Iterable[Value]) -> bool:
        """Note that values are changed in place, and return whether one of them is a view itself."""
        changed = {*values}
        self._stale.update(view for view, bases in self._bases.items() if not changed.isdisjoint(bases))
        return not changed.isdisjoint(self._bases)

    def is_stale(self, value: Value) -> bool:
        """Return whether a value is a view of one that was changed since."""
        return value in self._stale
