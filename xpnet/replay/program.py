"""Programs, which carry traced steps out on other arrays, and what goes into them and comes back."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Collection
from typing import Any, Protocol

from xpnet.replay.overlap import are_apart, extent, span
from xpnet.replay.trace import Running, Trace, Value, kind_of
from xpnet.replay.tree import leaves

Array = Any
Tree = Any

_NOTHING = object()


@dataclasses.dataclass(frozen=True)
class Loop:
    """Steps one after the other, each with what the one before returned, see `Program.scan`.

    Attributes
    ----------
    steps : int
        How many, at least 1.
    rows : dict of int to array
        By place among the leaves: ``rows[i, ...]`` is the leaf of step `i`, which is stored row by row and is
        not changed. From one to the next may be any number of bytes, also 0 or less.
    carried : dict of int to Value
        By place: what a step returns for it, which it made. Other arrays of the carry stay the same ones,
        changed in place or not at all.
    counted : dict of int to int
        By place: what is added to this whole number after each step.
    """

    steps: int
    rows: dict[int, Array]
    carried: dict[int, Value]
    counted: dict[int, int]


class Program(Protocol):
    """What a backend makes of a trace."""

    @property
    def changed(self) -> Collection[Value]:
        """The values that are changed in place."""
        ...

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """Carry the step out.

        Parameters
        ----------
        leaves : list
            Of the arguments. The program may put others in their places, such as what it made of an array
            that it changed: a run on these has them where it expects them.
        moved : list of int
            The places of the arrays that are not those of the run before.
        """
        ...

    def scan(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        """Carry steps out one after the other.

        Parameters
        ----------
        leaves : list
            Of the arguments of the first step, with row 0 in the places of rows; see `run`. Afterwards, whole
            numbers are those of the last step.
        moved : list of int
            See `run`.
        loop : Loop
        """
        ...

    def getter(self, value: Value) -> Callable[[], Array]:
        """Return a function that returns a value that the step returns, after a run or a scan."""
        ...

    def forget(self) -> None:
        """Release the arguments."""
        ...


def scan_by_runs(program: Program, leaves: list[Any], moved: list[int], loop: Loop) -> None:
    """Carry steps out by one run each: `Program.scan` of a program that has no other way."""
    program.run(leaves, moved)
    made = [(place, program.getter(value)) for place, value in loop.carried.items()]
    moved = [*loop.carried, *loop.rows]
    for i in range(1, loop.steps):
        for place, added in loop.counted.items():
            leaves[place] += added
        for place, get in made:
            leaves[place] = get()
        for place, rows in loop.rows.items():
            leaves[place] = rows[i, ...]
        program.run(leaves, moved)


def _overlaps_itself(rows: Array) -> bool:
    """Return whether rows share memory with each other."""
    begin, end = extent(rows[:1, ...])
    return len(rows) > 1 and abs(rows.strides[0]) < end - begin


class Replay:
    """A program with the arguments at hand. Leaves are in the order of `tree.leaves`.

    Parameters
    ----------
    trace : Trace
    program : Program

    Attributes
    ----------
    program : Program
    result : callable
        Returns what the step returns, after `run` or `scan`.
    """

    def __init__(self, trace: Trace, program: Program) -> None:
        self.program = program
        given = trace.given
        self._changed = {place for place, value in given.items() if value in program.changed}
        self._kinds = [given[i].kind if i in given else leaf for i, leaf in enumerate(trace.leaves)]
        self._places = range(len(self._kinds))
        self._is_array = [place in given for place in self._places]
        self._arrays = len(given)
        looks = {place: (value.shape, value.dtype) for place, value in given.items()}
        counts = collections.Counter(looks.values())
        self._has_double = {place for place, look in looks.items() if counts[look] > 1}
        changeable = {look[1] for place, look in looks.items() if place in self._changed}
        self._may_overlap = {place for place, look in looks.items() if look[1] in changeable}
        self._given = given.keys()
        self._at_hand: list[Any] = [_NOTHING] * len(self._kinds)
        self.result = self._maker(trace.result)
        self._plan_to_follow(trace)

    def _plan_to_follow(self, trace: Trace) -> None:
        """Find out whether what the step returns can be its first arguments, and what these are then."""
        # The leaves of `(total, count), {}` and an item `(x,)` are a form of all, a form of three, total,
        # count, x and no names; those of a result `(total, count)` are a form of two, total and count.
        results = leaves(trace.result)
        self._form = results[0]  # of all that the step returns
        self._begin = 1 + len(results)  # of the leaves of items
        self._follows = self._begin < len(self._kinds) and all(
            self._may_be_carried(place, leaf) for place, leaf in enumerate(results[1:], 2)
        )
        # A tree among the leaves of an item begins with its form, which is a tuple.
        self._is_flat = not any(type(leaf) is tuple for leaf in trace.leaves[self._begin : -1])
        self._carried = [
            (place, self._maker(leaf))
            for place, leaf in enumerate(results[1:], 2)
            if isinstance(leaf, Value) and leaf.leaf != place
        ]
        self._counted = [
            (place, leaf) for place, leaf in enumerate(results[1:], 2) if isinstance(leaf, Running)
        ]
        self._plan_to_scan(dict(enumerate(results[1:], 2)))

    def _plan_to_scan(self, results: dict[int, Any]) -> None:
        """Find out what changes from step to step, and whether `Program.scan` can follow it."""
        self._made = {i: v for i, v in results.items() if isinstance(v, Value) and v.leaf != i}
        self._added = {i: n.added for i, n in results.items() if isinstance(n, Running)}
        self._scans = (
            self._follows
            and all(value.leaf is None for value in self._made.values())
            and len({*self._made.values()}) == len(self._made)
            and all(n.leaf == i for i, n in results.items() if isinstance(n, Running))
        )

    def _may_be_carried(self, place: int, leaf: Any) -> bool:
        """Return whether a leaf of the result fits at a place among the arguments."""
        if isinstance(leaf, Value):
            return self._is_array[place] and bool(leaf.kind == self._kinds[place])
        if isinstance(leaf, Running):
            return leaf.function is None and self._fits(place, 0)
        return self._fits(place, leaf)

    def _fits(self, place: int, value: Any) -> bool:
        """Return whether a leaf has the form, the shape and the dtype of the recorded one."""
        kind = self._kinds[place]
        if self._is_array[place]:
            return bool(kind_of(value) == kind)
        return type(value) is type(kind) and (type(kind) is int or value == kind)

    def _are_distinct(self, values: list[Any], moved: list[int]) -> bool:
        """Return whether no array stands in two places; if one does, that is not what was recorded.

        Those that did not move are distinct, and arrays of two shapes or dtypes are.
        """
        if self._has_double.isdisjoint(moved):
            return True
        return len({*map(id, itertools.compress(values, self._is_array))}) == self._arrays

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
        for place, number in self._counted:
            values[place] = number.of(self._at_hand)
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

    def returns(self, length: int) -> bool:
        """Return whether the step returns a tuple of so many elements."""
        return bool(self._form == (tuple, length))

    def shares(self, values: list[Any], rows: dict[int, Array]) -> bool:
        """Return whether rows of a scan, by place, share memory with an array that is changed in it.

        That is an array among these leaves, or another row.
        """
        extents = {place: extent(rows.get(place, values[place])) for place in self._given}
        changed = (x for place, x in rows.items() if place in self._changed)
        return any(map(_overlaps_itself, changed)) or not are_apart(extents, self._changed)

    def scan(self, values: list[Any], moved: list[int], steps: int, rows: dict[int, Array]) -> bool:
        """Run on these leaves, which must fit, and on what each run returned with the next of the rows.

        Return False, and do nothing, if the program cannot do that.
        """
        if not (self._scans and self._changed.isdisjoint(rows)):
            return False
        try:
            places = [i for i in moved if self._is_array[i]]
            self.program.scan(values, places, Loop(steps, rows, self._made, self._added))
            for place in (*rows, *self._made):  # Of these, the last step had others.
                values[place] = _NOTHING
            self._at_hand[:] = values
        except BaseException:
            self.forget()
            raise
        return True

    def changes(self, place: int) -> bool:
        """Return whether the leaf at a place is an array that is changed."""
        return place in self._changed

    def run(self, values: list[Any], moved: list[int]) -> None:
        """See `Program`; `moved` are places of any leaves, and the leaves must fit."""
        try:
            self.program.run(values, [i for i in moved if self._is_array[i]])
            self._at_hand[:] = values
        except BaseException:  # The state is unknown after a failure.
            self.forget()
            raise

    def forget(self) -> None:
        """See `Program`."""
        self._at_hand[:] = [_NOTHING] * len(self._at_hand)
        self.program.forget()

    def _maker(self, tree: Tree) -> Callable[[], Tree]:
        """Return a function that makes what stands in the trace as `tree`.

        It must not hold this object, which would not be freed as soon as it is dropped.
        """
        if type(tree) is dict:
            items = [(key, self._maker(item)) for key, item in tree.items()]
            return lambda: {key: make() for key, make in items}
        if type(tree) is tuple or type(tree) is list:
            kind, makers = type(tree), [self._maker(item) for item in tree]
            return lambda: kind([make() for make in makers])
        if isinstance(tree, Value):
            return self.program.getter(tree)
        if isinstance(tree, Running):
            return functools.partial(tree.of, self._at_hand)
        return lambda: tree
