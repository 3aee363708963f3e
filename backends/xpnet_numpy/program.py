"""`xp.compile`: a recorded step without its Python, into arrays that are kept from call to call."""

from __future__ import annotations

import collections
import functools
import inspect
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnet.recording import Call, Counter, Recording, Reference, leaves
from xpnet.replay import Arguments
from xpnet_numpy import in_place
from xpnet_numpy.stack import Stack

Array = Any
# A function, what finds its arguments among the values, and the numbers of what it returns.
Operation = tuple[Callable[..., Any], Callable[[list[Any]], tuple[Any, ...]], Sequence[int | None]]


class Program:
    """A recorded step on other arrays of the same shapes, see `xpnet.replay.Program`.

    Parameters
    ----------
    recording : Recording

    Raises
    ------
    NotReplayableError
        If it makes use of a whole number that may change, other than as the number of an Adam step.
    """

    def __init__(self, recording: Recording) -> None:
        calls, results = recording.calls, leaves(recording.result)
        self._recorded = recording.values
        self._arguments = Arguments(recording)
        self._values: list[Any] = [None] * len(recording.values)
        self._counters: list[tuple[int, Counter]] = []
        self._returned = {leaf for leaf in results if isinstance(leaf, Reference)}
        changes = collections.Counter(number for call in calls for number in call.changed)
        self._changed = set(changes)
        once = {n for n, times in changes.items() if times == 1 and recording.values[n].argument is not None}
        self._written: set[int] = set()
        self._stacks: list[Stack] = []
        self._operations: list[Operation] = []
        for _, group in itertools.groupby(calls, operator.attrgetter("name")):
            alike = list(group)
            if Stack.suits(alike, recording.values, once, self._written):
                self._stacks.append(Stack(alike, self._values))
                self._written.difference_update(self._stacks[-1].gradients)
                self._operations.append((self._stacks[-1].step, _picked([]), ()))
            else:
                self._operations += map(self._operation, alike)
        self._stacked = [
            (place, number)
            for place, number in self._arguments.numbers.items()
            if any(number in stack.changed for stack in self._stacks)
        ]
        self.origins = [
            recording.values[leaf].argument if type(leaf) is Reference else None for leaf in results
        ]
        self._make_result = self._arguments.result(recording.result, self._getter)

    def _operation(self, call: Call) -> Operation:
        """Return a call as an operation, which writes into arrays of the program if it can."""
        call.check_numbers()
        write = in_place.FUNCTIONS.get(call.name)
        results = [number for number in call.results if number is not None]
        # What the step returns must be new, for the next call writes to the program's own arrays again.
        if write is None or not _takes(write, call) or not self._returned.isdisjoint(results):
            return self._as_recorded(call)
        for number in results:
            array = self._recorded[number].array
            self._values[number] = numpy.empty(array.shape, array.dtype)
        self._written.update(results)
        return functools.partial(write, **call.numbers), _picked([*call.references, *results]), ()

    def _as_recorded(self, call: Call) -> Operation:
        """Return a call of the portable twin, which makes new arrays."""
        inputs: dict[str, int] = {}
        for key, value in call.arguments.items():
            if isinstance(value, Reference):
                inputs[key] = value
            elif isinstance(value, Counter):
                inputs[key] = len(self._values)
                self._counters.append((len(self._values), value))
                self._values.append(None)
        return call.function_of(*inputs), _picked([*inputs.values()]), call.results

    def _getter(self, number: int) -> Callable[[], Array]:
        return lambda: self._values[number]

    def fits(self, values: list[Any]) -> bool:
        """See `xpnet.replay.Program`."""
        return self._arguments.fit(values)

    def changes(self, place: int) -> bool:
        """See `xpnet.replay.Program`."""
        return self._arguments.numbers.get(place) in self._changed

    def forget(self) -> None:
        """See `xpnet.replay.Program`."""
        self._arguments.forget()
        for number in self._arguments.numbers.values():
            self._values[number] = None

    def __call__(self, values: list[Any]) -> Any:
        """See `xpnet.replay.Program`."""
        own, arguments = self._values, self._arguments
        moved = {arguments.numbers[place] for place in arguments.moved(values) if place in arguments.numbers}
        for place, number in arguments.numbers.items():
            if number in moved:
                own[number] = values[place]
        arguments.at_hand = values
        for number, counter in self._counters:
            own[number] = values[counter.argument] + counter.added
        for stack in self._stacks:
            if not stack.changed.isdisjoint(moved):
                stack.load()
        for function, inputs, results in self._operations:
            made = function(*inputs(own))
            if results:
                for result, array in zip(results, made if type(made) is tuple else (made,), strict=True):
                    if result is not None:
                        own[result] = array
        # What is returned may come next, and is known then.
        for place, number in self._stacked:
            values[place] = own[number]
        return self._make_result()


def _picked(numbers: Sequence[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return a function that returns the values of these numbers."""
    if len(numbers) > 1:
        return operator.itemgetter(*numbers)
    return lambda values: tuple(values[number] for number in numbers)


def _takes(write: Callable[..., Any], call: Call) -> bool:
    """Return whether all that `write` takes as arrays are arrays in this call."""
    parameters = inspect.signature(write).parameters.values()
    return call.numbers.keys() <= {
        parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }
