"""The trial of a program: it is run on copies, beside the step that it is to replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from xpnet.namespace import Namespace
from xpnet.replay.nearness import distance, is_near
from xpnet.replay.program import Replay
from xpnet.replay.tree import is_array, leaves

Array = Any

# Arrays of so many elements that a program does not change are the images of a data set: too many to copy.
DATA_SET = 2**24
_DRAWS = 4


class Trial:
    """A program that is run on copies of the arguments of a call, before the step is.

    Parameters
    ----------
    xp : Namespace
    replay : Replay
    values : list
        The leaves of the arguments.

    Raises
    ------
    Exception
        Whatever the program raises. The arguments are as they were.
    """

    def __init__(self, xp: Namespace, replay: Replay, values: list[Any]) -> None:
        self._xp = xp
        self._replay = replay
        self._values = values
        changed = [replay.changes(i) for i in range(len(values))]
        compared = [self._is_compared(*pair) for pair in zip(values, changed, strict=True)]
        self._kept = [i for i, compare in enumerate(compared) if compare and not changed[i]]
        pairs = [*zip(values, compared, strict=True)]
        self._before: list[Any] = [self._on_host(value) if compare else None for value, compare in pairs]
        # Copies of all that may change, because what is believed to stay as it is may not.
        copies = [xp.asarray(value, copy=True) if compare else value for value, compare in pairs]
        self._found, self._starts = self._carried_out(replay, copies, self._before)
        self._stayed = self._are_as_before(copies)

    def confirms(self, result: Any) -> bool:
        """Return whether the step, which has run on the arguments since and returned this, did the same."""
        if not (self._stayed and self._are_as_before(self._values)):
            return False
        compared = self._found, [self._on_host(leaf) for leaf in leaves(result)], self._starts
        # Of what is nothing but rounding, such as the gradient of a bias before batch normalisation, no digit
        # need be the same.
        return all(map(is_near, *compared)) or all(map(is_near, *compared, self._sensitivity()))

    def _sensitivity(self) -> list[float]:
        """Return how much each result of the program changes with the last digits of the arguments."""
        random = numpy.random.Generator(numpy.random.Philox(0))
        largest = [0.0] * len(self._found)
        for _ in range(_DRAWS):
            rounded = [None if x is None else _rounded_otherwise(random, x) for x in self._before]
            pairs = zip(self._values, rounded, strict=True)
            values = [value if x is None else self._xp.asarray(x.copy()) for value, x in pairs]
            found = self._carried_out(self._replay, values, rounded)
            largest = [*map(max, largest, map(distance, *found, self._found, self._starts))]
        return largest

    def _carried_out(
        self, replay: Replay, copies: list[Any], before: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Return what the program makes of copies, on the host, and what each result was before, if known."""
        values = [*copies]  # A program may put other arrays in their places.
        replay.run(values, [*range(len(values))])
        results = leaves(replay.result())
        found = [self._on_host(leaf) for leaf in results]
        replay.forget()
        given = {id(value): start for value, start in zip(values, before, strict=True)}
        return found, [given.get(id(leaf)) for leaf in results]

    def _on_host(self, leaf: Any) -> Any:
        """Return a copy of an array on the host, and all else as it is."""
        return numpy.array(self._xp.to_host(leaf)) if is_array(leaf) else leaf

    def _is_compared(self, value: Any, changed: bool) -> bool:
        """Return whether a leaf is what a step might change: floats, but not the images of a data set."""
        if not is_array(value):
            return False
        return changed or (self._xp.isdtype(value.dtype, "real floating") and value.size < DATA_SET)

    def _are_as_before(self, values: list[Any]) -> bool:
        """Return whether the arrays that should stay as they were hold what they held."""
        host: Callable[[Array], numpy.ndarray] = self._xp.to_host
        return all(numpy.array_equal(host(values[i]), self._before[i], equal_nan=True) for i in self._kept)


def _rounded_otherwise(random: numpy.random.Generator, x: numpy.ndarray) -> numpy.ndarray:
    """Return a copy of an array; floating-point numbers are off by one in the last place."""
    if x.dtype.kind != "f":
        return x.copy()
    signs = random.choice([-1, 1], x.shape)
    return numpy.asarray(x * (1 + numpy.finfo(x.dtype).eps * signs), x.dtype)
