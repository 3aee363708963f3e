"""Programs, which carry recorded steps out on other arrays, and what goes into them and comes back."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Collection
from typing import Any, Protocol

from xpnet.recording import Counter, Recording, Reference, leaves, plain

Array = Any
Tree = Any

_NOTHING = object()


class Program(Protocol):
    """What a backend makes of a recording. Values are known by their numbers in it."""

    @property
    def changed(self) -> Collection[int]:
        """The values that are changed in place."""
        ...

    def run(self, values: list[Any], moved: list[int]) -> None:
        """Carry the step out.

        Parameters
        ----------
        values : list
            The leaves of the arguments. What is put in the place of one is what comes next, for all we know.
        moved : list of int
            The places of those that are not the ones of the run before.
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
    origins : list of int or None
        For each leaf of the result, which leaf of the arguments it is, changed or not.
    result : callable
        Returns what the step returns, after `run`.
    """

    def __init__(self, recording: Recording, program: Program) -> None:
        self.program = program
        results = leaves(recording.result)
        self.origins = [
            recording.values[leaf].argument if type(leaf) is Reference else None for leaf in results
        ]
        self._arrays = recording.numbers.keys()
        self._changed = {place for place, number in recording.numbers.items() if number in program.changed}
        self._kinds = [
            _kind(leaf) if place in self._arrays else leaf for place, leaf in enumerate(recording.leaves)
        ]
        self._places = range(len(self._kinds))
        self._at_hand: list[Any] = [_NOTHING] * len(self._kinds)
        self.result = self._maker(recording.result)
        # The form of all arguments and that of the positional ones come first, and that of what is returned.
        self._begin = 1 + len(results)  # of what is not carried over from a result to the next arguments
        carried = [*enumerate(zip(results[1:], self.origins[1:], strict=True), 2)]
        self._carried = [
            (place, self._maker(leaf))
            for place, (leaf, origin) in carried
            if type(leaf) in (Reference, Counter) and place != origin
        ]
        self._follows = self._begin < len(self._kinds) and all(
            self._fits(place, recording.values[leaf].array if type(leaf) is Reference else plain(leaf))
            for place, (leaf, _) in carried
        )

    def _fits(self, place: int, value: Any) -> bool:
        """Return whether a leaf has the form, the shape and the dtype of the recorded one."""
        kind = self._kinds[place]
        if place in self._arrays:
            return bool(_kind(value) == kind)
        return type(value) is type(kind) and (type(kind) is int or value == kind)

    def moved(self, values: list[Any]) -> list[int] | None:
        """Return the places of the leaves that are not those at hand; None if they do not all fit."""
        if len(values) != len(self._kinds):
            return None
        moved = [*itertools.compress(self._places, map(operator.is_not, values, self._at_hand))]
        if not all(self._fits(place, values[place]) for place in moved):
            return None
        return moved if len({id(values[place]) for place in self._arrays}) == len(self._arrays) else None

    def follow(self, item: tuple[Any, ...]) -> bool:
        """Run on what the last run returned and, behind that, an item; return False if that does not fit."""
        at_hand, given = self._at_hand, leaves(item)[1:]
        if not self._follows or self._begin + len(given) + 1 != len(at_hand):
            return False
        moved = [(place, make()) for place, make in self._carried]
        for place, value in enumerate(given, self._begin):
            if value is not at_hand[place]:
                # An array that stands in two places is not what was recorded.
                if not self._fits(place, value) or (place in self._arrays and self._is_at_hand(value)):
                    return False
                moved.append((place, value))
        for place, value in moved:
            at_hand[place] = value
        self.run(at_hand, [place for place, _ in moved])
        return True

    def _is_at_hand(self, value: Any) -> bool:
        return any(map(operator.is_, self._at_hand, itertools.repeat(value)))

    def changes(self, place: int) -> bool:
        """Return whether the leaf at a place is an array that is changed."""
        return place in self._changed

    def run(self, values: list[Any], moved: list[int]) -> None:
        """See `Program`; leaves must fit."""
        try:
            self.program.run(values, moved)
        except BaseException:
            self.forget()  # Nobody knows how far it came.
            raise
        if values is not self._at_hand:
            self._at_hand[:] = values

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
            at_hand = self._at_hand
            return lambda: at_hand[tree.argument] + tree.added
        return lambda: tree


def _kind(array: Any) -> Any:
    """Return what must be alike in arrays that take each other's place; None for what is no array."""
    try:
        return array.shape, array.dtype, array.device, array.flags.c_contiguous
    except AttributeError:
        return None
