"""A trace: what a training step does, as calls of `nn` on values, and who uses each value.

`tracing` makes it, and the backends make their programs of it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xpnet.nn import Function
from xpnet.replay.tree import leaves

Array = Any
Tree = Any


class NotReplayableError(Exception):
    """Says why a step cannot be replayed."""


class UnknownArrayError(NotReplayableError):
    """Says so of a step that does more with arrays than to call `xp.nn`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array of the step; the same one only if it is the same object.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    leaf : int or None
        Its place among the leaves of the step's arguments, if it is one.
    kind : tuple or None
        See `kind_of`; None for an array that a program adds.
    """

    shape: tuple[int, ...]
    dtype: Any
    leaf: int | None = None
    kind: Any = None


@dataclasses.dataclass(frozen=True)
class Running:
    """A number that may differ from call to call: a whole one, or what a function makes of it.

    Attributes
    ----------
    leaf : int
        The place of the whole number among the leaves of the step's arguments.
    added : int
        What the step adds to it.
    function : callable or None
        Takes the sum and returns a float, as a schedule does; it is called anew for each call of the step.
    """

    leaf: int
    added: int
    function: Callable[[int], float] | None = dataclasses.field(default=None, hash=False)

    def of(self, leaves: Sequence[Any]) -> Any:
        """Return the number in a call with these leaves."""
        number = leaves[self.leaf] + self.added
        return number if self.function is None else self.function(number)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """A call of a function of `nn`.

    Attributes
    ----------
    function : Function
        As it is declared.
    run : callable
        The namespace's own function.
    arrays : dict of str to Value
        The arguments that are arrays, in order of the parameters; what is declared as a number may be one.
    numbers : dict of str to object
        All other arguments: numbers, `Running` ones, flags, a dtype, options.
    results : tuple of Value or None
        None for a result that is None. What is changed in place is the same value as before.
    """

    function: Function
    run: Callable[..., Any]
    arrays: Mapping[str, Value]
    numbers: Mapping[str, Any]
    results: tuple[Value | None, ...]

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.name

    @property
    def changed(self) -> tuple[Value, ...]:
        """The arguments that are changed in place, in order of the results."""
        return tuple(self.arrays[name] for name in self.function.changed)

    @property
    def running(self) -> dict[str, Running]:
        """The numbers that may differ from call to call."""
        return {name: n for name, n in self.numbers.items() if isinstance(n, Running)}

    def result(self, name: str) -> Value | None:
        """Return a result by the name that the declaration gives it."""
        return dict(zip(self.function.results, self.results, strict=True))[name]

    @functools.cached_property
    def sizes(self) -> dict[str, Any] | None:
        """The length of each axis of the declaration, see `xpnet.nn.Form.lengths`.

        None if the arrays are not those of the declaration: only the twin takes them.
        """
        if self.arrays.keys() != self.function.arrays.keys():
            return None
        sizes: dict[str, Any] = {}
        for name, form in self.function.arrays.items():
            lengths = form.lengths(self.arrays[name].shape)
            if lengths is None or any(sizes.setdefault(axis, length) != length for axis, length in lengths):
                return None
        try:
            return self.function.completed(sizes, self.numbers)
        except ValueError:
            return None

    def function_of(self, *names: str, run: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Return the function of some arguments, in this order, with the others as they are in the call.

        Parameters
        ----------
        *names : str
            All arrays, and the numbers that are not to stay.
        run : callable, optional
            What is called in the place of `run`.
        """
        function = self.run if run is None else run
        others = {name: number for name, number in self.numbers.items() if name not in names}
        parameters = list(inspect.signature(self.function.twin).parameters.values())[1 : len(names) + 1]
        first = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        if [*names] == first:
            return functools.partial(function, **others)
        return lambda *found: function(**dict(zip(names, found, strict=True)), **others)


@dataclasses.dataclass(eq=False)
class Trace:
    """A step as it ran once.

    Attributes
    ----------
    leaves : list
        The keys and leaves of the arguments, see `tree`.
    arguments : dict of Value to array
        The arrays among them, as they were. A program must not keep these.
    calls : list of Call
    result : tree
        What the step returned, with a `Value` for each array and a `Running` for each number.
    """

    leaves: list[Any]
    arguments: dict[Value, Array]
    calls: list[Call]
    result: Tree

    @functools.cached_property
    def given(self) -> dict[int, Value]:
        """The arrays among the arguments, by their places among the leaves."""
        return {value.leaf: value for value in self.arguments if value.leaf is not None}

    @functools.cached_property
    def values(self) -> list[Value]:
        """All values, in order: the arguments first."""
        made = (value for call in self.calls for value in call.results if value is not None)
        return [*dict.fromkeys((*self.arguments, *made))]

    @functools.cached_property
    def returned(self) -> frozenset[Value]:
        """The values that the step returns."""
        return frozenset(leaf for leaf in leaves(self.result) if isinstance(leaf, Value))

    @functools.cached_property
    def changed(self) -> frozenset[Value]:
        """The values that are changed in place."""
        return frozenset(value for call in self.calls for value in call.changed)

    @functools.cached_property
    def _users(self) -> dict[Value, list[tuple[Call, str]]]:
        users: dict[Value, list[tuple[Call, str]]] = {}
        for call in self.calls:
            for name, value in call.arrays.items():
                users.setdefault(value, []).append((call, name))
        return users

    @functools.cached_property
    def _makers(self) -> dict[Value, Call]:
        made = {v: call for call in reversed(self.calls) for v in call.results if v not in call.changed}
        return {value: call for value, call in made.items() if value is not None}

    @functools.cached_property
    def _places(self) -> dict[Call, int]:
        return {call: i for i, call in enumerate(self.calls)}

    def users(self, value: Value | None) -> list[tuple[Call, str]]:
        """Return the calls that use a value, in order, with the names of the arguments."""
        return self._users.get(value, []) if value is not None else []

    def only_user(self, value: Value | None) -> tuple[Call, str] | None:
        """Return the call that uses a value and the name of the argument, if nothing else needs the value."""
        users = self.users(value)
        return users[0] if len(users) == 1 and value not in self.returned else None

    def maker(self, value: Value) -> Call | None:
        """Return the call that made a value; None for an argument of the step."""
        return self._makers.get(value)

    def index(self, call: Call) -> int:
        """Return the place of a call among the calls."""
        return self._places[call]


def kind_of(array: Array) -> Any:
    """Return what must be alike in arrays that take each other's place; None for what is no array."""
    try:
        return array.shape, array.dtype, array.device, array.flags.c_contiguous
    except AttributeError:
        return None
