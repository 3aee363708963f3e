"""`xp.compile`: a recorded step without its Python, into arrays that are kept from call to call."""

from __future__ import annotations

import collections
import dataclasses
import functools
import inspect
import itertools
import operator
from collections.abc import Callable, Collection, MutableMapping, Sequence
from typing import Any

import numpy

from xpnet.recording import Call, Counter, Recording, Reference, Value, leaves
from xpnet_numpy import in_place
from xpnet_numpy.stack import Stack

Array = Any
# A function, what finds its arguments among the values, and the numbers of what it returns.
Operation = tuple[Callable[..., Any], Callable[[list[Any]], tuple[Any, ...]], Sequence[int | None]]


class Program:
    """A recorded step on other arrays of the same shapes, see `xpnet.program.Program`.

    Parameters
    ----------
    recording : Recording
    stacks : mapping
        What programs of one step share, so that parameters move from one to the other as they are.
    """

    def __init__(self, recording: Recording, stacks: MutableMapping[Any, Stack]) -> None:
        calls, recorded = recording.calls, recording.values
        self._given = recording.given
        self._values: list[Any] = [None] * len(recording.values)
        self._counted: list[tuple[int, int, int]] = []
        self._returned = {leaf for leaf in leaves(recording.result) if isinstance(leaf, Reference)}
        changes = collections.Counter(number for call in calls for number in call.changed)
        self.changed = changes.keys()
        self._changed = [(place, n) for place, n in self._given.items() if n in changes]
        once = {n for n, times in changes.items() if times == 1 and recorded[n].argument is not None}
        self._written: set[int] = set()
        self._stacked: list[_Stacked] = []
        self._operations: list[Operation] = []
        for _, group in itertools.groupby(calls, operator.attrgetter("name")):
            alike = list(group)
            if Stack.suits(alike, recorded, once, self._written):
                self._operations.append(self._stack(alike, recorded, stacks))
            else:
                self._operations += [self._operation(call, recorded) for call in alike]

    def _stack(
        self, calls: Sequence[Call], recorded: Sequence[Value], stacks: MutableMapping[Any, Stack]
    ) -> Operation:
        """Return steps of an optimizer as an operation."""
        changed = [number for row in zip(*[call.changed for call in calls], strict=True) for number in row]
        gradients = [call.arguments["grad"] for call in calls]
        places = [recorded[number].argument for number in changed]
        kinds = [(place, recorded[n].array.shape) for place, n in zip(places, changed, strict=True)]
        key = calls[0].name, *calls[0].numbers.items(), *kinds, recorded[gradients[0]].array.dtype
        stacked = _Stacked(stacks.setdefault(key, Stack(calls)), places, changed, gradients)
        self._stacked.append(stacked)
        # Another step cannot take them for what it makes, for they are in the rows of this one.
        self._written.difference_update(gradients)

        # Not bound to this program, which would not be freed as soon as it is let go.
        return functools.partial(stacked.step, self._values), _picked([]), ()

    def _operation(self, call: Call, recorded: Sequence[Value]) -> Operation:
        """Return a call as an operation, which writes into arrays of the program if it can."""
        write = in_place.FUNCTIONS.get(call.name)
        results = [number for number in call.results if number is not None]
        # What the step returns must be new, for the next call writes to the program's own arrays again.
        if write is None or not _takes(write, call) or not self._returned.isdisjoint(results):
            return self._as_recorded(call)
        for number in results:
            array = recorded[number].array
            self._values[number] = numpy.empty(array.shape, array.dtype)
        self._written.update(results)
        return functools.partial(write, **call.numbers), _picked([*call.references, *results]), ()

    def _as_recorded(self, call: Call) -> Operation:
        """Return a call of the portable twin, which makes new arrays; whoever runs it sees to underflow."""
        inputs: dict[str, int] = {}
        for key, value in call.arguments.items():
            if isinstance(value, Reference):
                inputs[key] = value
            elif isinstance(value, Counter):
                inputs[key] = len(self._values)
                self._counted.append((len(self._values), value.argument, value.added))
                self._values.append(None)
        twin = dataclasses.replace(call, function=inspect.unwrap(call.function))
        return twin.function_of(*inputs), _picked([*inputs.values()]), call.results

    def array(self, number: Reference) -> Array:
        """See `xpnet.program.Program`."""
        return self._values[number]

    def forget(self) -> None:
        """See `xpnet.program.Program`."""
        for number in self._given.values():
            self._values[number] = None

    def run(self, values: list[Any], moved: list[tuple[int, int]]) -> None:
        """See `xpnet.program.Program`."""
        own = self._values
        for place, number in moved:
            own[number] = values[place]
        for number, argument, added in self._counted:
            own[number] = values[argument] + added
        for stacked in self._stacked:
            stacked.load(own, moved)
        for function, inputs, results in self._operations:
            made = function(*inputs(own))
            if results:
                for result, array in zip(results, made if type(made) is tuple else (made,), strict=True):
                    if result is not None:
                        own[result] = array
        for place, number in self._changed:
            values[place] = own[number]


class _Stacked:
    """A stack in a program: the places of its arrays among the arguments, and their numbers."""

    def __init__(
        self, stack: Stack, places: Sequence[Any], changed: Sequence[int], gradients: Sequence[int]
    ) -> None:
        self._stack = stack
        self._given = frozenset(zip(places, changed, strict=True))
        self._changed = changed
        self._gradients = gradients
        self._pick = _picked(changed)
        self._left: Sequence[Array] | None = None  # in the stack, by the last step

    def load(self, own: list[Any], moved: Collection[tuple[int, int]]) -> None:
        """Let what is changed be in the stack, unless it is that which was left there."""
        if self._stack.changed is not self._left or not self._given.isdisjoint(moved):
            self._stack.load(self._pick(own))
            _put(own, self._gradients, self._stack.gradients)

    def step(self, own: list[Any]) -> None:
        """Take the step, and let what it changed be what it is now."""
        self._stack.step()
        self._left = self._stack.changed
        _put(own, self._changed, self._left)


def _put(own: list[Any], numbers: Sequence[int], arrays: Sequence[Array]) -> None:
    for number, array in zip(numbers, arrays, strict=True):
        own[number] = array


def _picked(numbers: Sequence[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return a function that returns the values of these numbers."""
    if len(numbers) > 1:
        return operator.itemgetter(*numbers)
    return lambda values: tuple(values[number] for number in numbers)


def _takes(write: Callable[..., Any], call: Call) -> bool:
    """Return whether all that `write` takes as arrays are arrays in this call."""
    parameters = inspect.signature(write).parameters.values()
    return call.numbers.keys() == {
        parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }
