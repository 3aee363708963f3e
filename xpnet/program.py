"""Programs, which carry recorded steps out on other arrays, and what goes into them and comes back."""

from __future__ import annotations

import collections
import functools
import itertools
import operator
from collections.abc import Callable, Collection
from typing import Any, Protocol

from xpnet.recording import Counter, Recording, Reference, are_apart, leaves, plain, span

Array = Any
Tree = Any

_NOTHING = object()


class Program(Protocol):
    """What a backend makes of a recording. Values are known by their numbers in it."""

    @property
    def changed(self) -> Collection[int]:
        """The values that are changed in place."""
        ...

    def run(self, values: list[Any], moved: list[tuple[int, int]]) -> None:
        """Carry the step out.

        Parameters
        ----------
        values : list
            The leaves of the arguments. The program may put others in their places, such as what it made of
            an array that it changed: a run on these has them where it expects them.
        moved : list of (int, int)
            The places and the numbers of the arrays that are not those of the run before.
        """
        ...

    def array(self, number: Reference) -> Array:
        """Return a value that the step returns, after a run."""
        ...

    def forget(self) -> None:
        """Let go of the arguments."""
        ...


class Replay:
    """A program with the arguments at hand. Leaves are in the order of `recording.leaves`.

    Parameters
    ----------
    recording : Recording
    program : Program

    Attributes
    ----------
    program : Program
    result : callable
        Returns what the step returns, after `run`.
    """

    def __init__(self, recording: Recording, program: Program) -> None:
        self.program = program
        self._given = recording.given
        self._changed = {place for place, number in self._given.items() if number in program.changed}
        self._kinds = [
            _kind(leaf) if place in self._given else leaf for place, leaf in enumerate(recording.leaves)
        ]
        self._places = range(len(self._kinds))
        self._is_array = [place in self._given for place in self._places]
        looks = {place: self._kinds[place][:2] for place in self._given}  # shape and dtype
        counts = collections.Counter(looks.values())
        self._has_double = {place for place, look in looks.items() if counts[look] > 1}
        changeable = {look[1] for place, look in looks.items() if place in self._changed}
        self._may_overlap = {place for place, look in looks.items() if look[1] in changeable}
        self._at_hand: list[Any] = [_NOTHING] * len(self._kinds)
        self.result = self._maker(recording.result)
        # The leaves of `(total, count), {}` and an item `(x,)` are a form of all, a form of three, total,
        # count, x and no names; those of a result `(total, count)` are a form of two, total and count.
        results = leaves(recording.result)
        self._begin = 1 + len(results)  # of the leaves of items
        self._follows = self._begin < len(self._kinds) and all(
            self._fits(place, recording.values[leaf].array if type(leaf) is Reference else plain(leaf))
            for place, leaf in enumerate(results[1:], 2)
        )
        # A tree among the leaves of an item begins with its form, which is a tuple.
        self._is_flat = not any(type(leaf) is tuple for leaf in recording.leaves[self._begin : -1])
        self._carried = [
            (place, self._maker(leaf))
            for place, leaf in enumerate(results[1:], 2)
            if type(leaf) is Counter or (type(leaf) is Reference and recording.values[leaf].argument != place)
        ]

    def _fits(self, place: int, value: Any) -> bool:
        """Return whether a leaf has the form, the shape and the dtype of the recorded one."""
        kind = self._kinds[place]
        if self._is_array[place]:
            return bool(_kind(value) == kind)
        return type(value) is type(kind) and (type(kind) is int or value == kind)

    def _are_distinct(self, values: list[Any], moved: list[int]) -> bool:
        """Return whether no array stands in two places; if one does, that is not what was recorded.

        Those that did not move are distinct, and arrays of two shapes or dtypes are.
        """
        if self._has_double.isdisjoint(moved):
            return True
        return len({*map(id, itertools.compress(values, self._is_array))}) == len(self._given)

    def _are_apart(self, values: list[Any], moved: list[int]) -> bool:
        """Return whether no array that is changed shares memory with another one.

        Those that did not move do not. Numbers of another kind, such as the indices of a batch, move at every
        call; they are compared only with arrays to be changed that moved too.
        """
        found = self._may_overlap.intersection(moved)
        if not found:
            return True
        places = found | self._changed if found.isdisjoint(self._changed) else self._given
        return are_apart({place: span(values[place]) for place in places}, self._changed)

    def moved(self, values: list[Any]) -> list[int] | None:
        """Return the places of the leaves that are not those at hand; None if they do not all fit."""
        if len(values) != len(self._kinds):
            return None
        moved = [*itertools.compress(self._places, map(operator.is_not, values, self._at_hand))]
        fit = (
            all(self._fits(place, values[place]) for place in moved)
            and self._are_distinct(values, moved)
            and self._are_apart(values, moved)
        )
        return moved if fit else None

    def follow(self, item: Any) -> bool:
        """Run on what the last run returned and, behind that, an item: see `Namespace.fold`.

        Return False, and do nothing, if that does not fit. The last run must be the one that made the carry.
        """
        if not self._follows or type(item) is not tuple:
            return False
        given = item if self._is_flat else leaves(item)[1:]
        if self._begin + len(given) + 1 != len(self._kinds):
            return False
        values, moved, found = self._at_hand.copy(), [], []
        for place, make in self._carried:
            values[place] = make()
            moved.append(place)
        for place, value in enumerate(given, self._begin):
            if value is not values[place]:
                if not self._fits(place, value):
                    return False
                values[place] = value
                found.append(place)
        moved += found
        if not self._are_distinct(values, moved):
            return False
        if not (self._may_overlap.isdisjoint(found) or self._are_apart(values, found)):
            return False
        self.run(values, moved)
        return True

    def changes(self, place: int) -> bool:
        """Return whether the leaf at a place is an array that is changed."""
        return place in self._changed

    def run(self, values: list[Any], moved: list[int]) -> None:
        """See `Program`; `moved` are places, and the leaves must fit."""
        try:
            self.program.run(values, [(i, self._given[i]) for i in moved if self._is_array[i]])
            self._at_hand[:] = values
        except BaseException:  # Nobody knows how far it came.
            self.forget()
            raise

    def forget(self) -> None:
        """See `Program`."""
        self._at_hand[:] = [_NOTHING] * len(self._at_hand)
        self.program.forget()

    def _maker(self, tree: Tree) -> Callable[[], Tree]:
        """Return a function that makes what stands in the recording as `tree`.

        It must not know of this object, which would not be freed as soon as it is let go.
        """
        if type(tree) is dict:
            items = [(key, self._maker(item)) for key, item in tree.items()]
            return lambda: {key: make() for key, make in items}
        if type(tree) is tuple or type(tree) is list:
            kind, makers = type(tree), [self._maker(item) for item in tree]
            return lambda: kind([make() for make in makers])
        if type(tree) is Reference:
            return functools.partial(self.program.array, tree)
        if type(tree) is Counter:
            at_hand, argument, added = self._at_hand, tree.argument, tree.added
            return lambda: at_hand[argument] + added
        return lambda: tree


def _kind(array: Any) -> Any:
    """Return what must be alike in arrays that take each other's place; None for what is no array."""
    try:
        return array.shape, array.dtype, array.device, array.flags.c_contiguous
    except AttributeError:
        return None
