"""What a training step does: its calls of `xp.nn`, noted while the step runs as ever.

This is where `compile` of a backend begins: see `xpnet.replay`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import array_api_compat
import numpy

from xpnet import nn
from xpnet.replacing import own_functions, replaced

Array = Any
Tree = Any

_SIGNATURES = {name: inspect.signature(getattr(nn, name)) for name in nn.__all__}


class NotReplayableError(Exception):
    """Says why a step cannot be replayed."""


class Counter(int):
    """A whole number among a step's arguments, which remembers what is added to it.

    Whatever else is computed with it would stay in the program as it was, so `spoil` is called then.
    """

    argument: int
    added: int
    spoil: Callable[[], None]

    @classmethod
    def make(cls, value: int, argument: int, added: int, spoil: Callable[[], None]) -> Counter:
        """Return a counter of this value."""
        number = cls(value)
        number.argument, number.added, number.spoil = argument, added, spoil
        return number

    def __add__(self, other: int) -> int:
        if type(other) is not int:
            self.spoil()
            return int.__add__(self, other)
        return Counter.make(int.__add__(self, other), self.argument, self.added + other, self.spoil)

    __radd__ = __add__


def _spoiling(name: str) -> Callable[..., Any]:
    def method(self: Counter, *others: Any) -> Any:
        self.spoil()
        return getattr(int, name)(self, *others)

    return method


_BINARY = ("sub", "mul", "pow", "truediv", "floordiv", "mod")
for _name in (
    *(f"__{side}{name}__" for side in ("", "r") for name in _BINARY),
    *(f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge", "hash")),
    *(f"__{name}__" for name in ("bool", "float", "int", "index", "neg", "abs")),
):
    setattr(Counter, _name, _spoiling(_name))


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the step.

    Attributes
    ----------
    array : array
        As it was at the recording.
    argument : int or None
        Its place among the leaves of the step's arguments, if it is one.
    """

    array: Array
    argument: int | None = None


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a function of `nn`.

    Attributes
    ----------
    name : str
    function : callable
    arguments : dict
        By the names of the parameters; arrays stand as numbers of values, in `Reference`.
    results : sequence of int or None
        Numbers of values; None for a result that is None.
    """

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    results: Sequence[int | None]

    @property
    def references(self) -> list[Reference]:
        """The arrays among the arguments."""
        return [value for value in self.arguments.values() if isinstance(value, Reference)]

    @property
    def numbers(self) -> dict[str, Any]:
        """The arguments that are no arrays."""
        return {key: value for key, value in self.arguments.items() if not isinstance(value, Reference)}

    @property
    def changed(self) -> list[Any]:
        """The arguments that are changed in place."""
        return [self.arguments[key] for key in nn.FUNCTIONS[self.name].changed]

    def function_of(self, *keys: str) -> Callable[..., Any]:
        """Return the function with these arguments left to give, in their order."""
        others = {key: value for key, value in self.arguments.items() if key not in keys}
        parameters = _SIGNATURES[self.name].parameters
        named = any(parameters[key].kind is inspect.Parameter.KEYWORD_ONLY for key in keys)
        if keys == tuple(self.arguments)[: len(keys)] and not named:
            return functools.partial(self.function, **others)
        return lambda *found: self.function(**dict(zip(keys, found, strict=True)), **others)


class Reference(int):
    """The number of a value, so that it is not taken for any other number."""


@dataclasses.dataclass
class Recording:
    """A step as it ran once.

    Attributes
    ----------
    leaves : list
        The keys and leaves of the arguments.
    values : list of Value
        The arrays, those of the arguments first.
    calls : list of Call
    result : tree
        What the step returned, with a `Reference` for each array and the `Counter` for each number.
    """

    leaves: list[Any]
    values: list[Value]
    calls: list[Call]
    result: Tree

    @property
    def given(self) -> dict[int, int]:
        """The numbers of the arrays among the leaves of the arguments, by place."""
        return {v.argument: number for number, v in enumerate(self.values) if v.argument is not None}


def record(
    xp: Any,
    step: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    functions: Any = None,
    check: Callable[[str, Callable[..., Any]], Callable[..., Any]] | None = None,
) -> tuple[Any, Recording]:
    """Run a step, and return what it returned and what it did.

    Parameters
    ----------
    xp : Namespace
        Other threads may record with it meanwhile, and see its own functions otherwise.
    step : callable
    args : tuple
    kwargs : dict, optional
    functions : namespace, optional
        What the step calls in the place of ``xp.nn``.
    check : callable, optional
        Takes the name of a function and what is called for it; returns what checks that call.

    Raises
    ------
    NotReplayableError
        If it used an array that neither came with its arguments nor was made by `xp.nn`, or a whole number
        that may change, other than as the number of an Adam step. The results are the error's second
        argument, for the step has run.
    """
    inputs = args, kwargs or {}
    flat = leaves(inputs)
    recorder = _Recorder(flat)
    args, kwargs = rebuilt(inputs, iter([recorder.argument(place, leaf) for place, leaf in enumerate(flat)]))
    own = own_functions(xp)
    called = own if functions is None else functions
    check = check or (lambda name, function: function)
    watched = {
        name: recorder.watched(name, f, check(name, getattr(called, name))) for name, f in vars(own).items()
    }
    try:
        with replaced(xp, types.SimpleNamespace(**watched)):
            result = step(*args, **kwargs)
    finally:
        recorder.thread = None
    if not recorder.reason:
        recorder.look_for_overlap()
    template = rebuilt(result, iter([recorder.result(leaf) for leaf in leaves(result)]))
    result = rebuilt(result, map(plain, leaves(result)))
    if recorder.reason:
        raise NotReplayableError(recorder.reason, result)
    return result, Recording(flat, *recorder.handed_over(), template)


_TREES = frozenset((dict, tuple, list))


def leaves(tree: Tree) -> list[Any]:
    """Return what dicts, tuples and lists hold, in order; the form of each comes before, as a tuple."""
    found: list[Any] = []
    _collect((tree,), found)
    return found


def _collect(items: Collection[Any], found: list[Any]) -> None:
    if _TREES.isdisjoint(map(type, items)):
        found += items
        return
    for item in items:
        kind = type(item)
        if kind is dict:
            found.append(tuple(item))
            _collect(item.values(), found)
        elif kind is tuple or kind is list:
            found.append((kind, len(item)))
            _collect(item, found)
        else:
            found.append(item)


def rebuilt(tree: Tree, found: Iterator[Any]) -> Tree:
    """Return a tree of the form of `tree` with other leaves, in the order of `leaves`."""
    leaf = next(found)
    if type(tree) is dict:
        return {key: rebuilt(item, found) for key, item in tree.items()}
    if type(tree) is tuple or type(tree) is list:
        return type(tree)([rebuilt(item, found) for item in tree])
    return leaf


def fault_of(arguments: list[Any]) -> str:
    """Return why a call with these leaves cannot be recorded, whatever the step does; empty if it can."""
    arrays = [leaf for leaf in arguments if is_array(leaf)]
    if len({*map(id, arrays)}) < len(arrays):
        return "the step is given one array twice"
    for leaf in arguments:
        if is_array(leaf):
            if not leaf.flags.c_contiguous:
                return "an array among the arguments of the step is not stored row by row (C-contiguous)"
        elif not (leaf is None or type(leaf) in (int, str, bool, tuple)):
            return f"the step takes what is neither an array nor a whole number: {type(leaf).__name__}"
    return ""


class _Recorder:
    def __init__(self, arguments: list[Any]) -> None:
        self.values: list[Value] = []
        self.calls: list[Call] = []
        self.reason = fault_of(arguments)
        self._numbers: dict[int, int] = {}  # by the identity of the array, which `_kept` keeps alive
        self._kept: list[Any] = []
        self.thread: int | None = threading.get_ident()

    def look_for_overlap(self) -> None:
        """Refuse arguments that share memory of which a part is changed."""
        changed = {number for call in self.calls for number in call.changed}
        spans = {i: span(v.array) for i, v in enumerate(self.values) if v.argument is not None}
        if changed and not are_apart(spans, changed):
            self.fail("the step is given arrays that share memory, and changes one of them")

    def handed_over(self) -> tuple[list[Value], list[Call]]:
        """Return what was noted, and keep none of it, for the counters among the arguments know this."""
        noted = self.values, self.calls
        self.values, self.calls, self._kept = [], [], []
        return noted

    def fail(self, reason: str) -> None:
        self.reason = self.reason or reason

    def argument(self, place: int, leaf: Any) -> Any:
        """Note a leaf of the arguments, and return what the step gets in its place."""
        if is_array(leaf):
            self._add(leaf, place)
        elif type(leaf) is int:
            return Counter.make(leaf, place, 0, self._spoil)
        return leaf

    def _spoil(self) -> None:
        self.fail("the step computes with a whole number that it is given, more than to add to it")

    def result(self, leaf: Any) -> Any:
        """Return what stands for a leaf of the result."""
        if not is_array(leaf):
            if not (leaf is None or type(leaf) in (str, bool, tuple, Counter)):
                self.fail(f"the step returns what is neither an array nor an argument: {type(leaf).__name__}")
            return leaf
        try:
            return self._reference(leaf, "the step returns an array")
        except NotReplayableError as e:
            self.fail(str(e))
            return leaf

    def watched(
        self, name: str, function: Callable[..., Any], called: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return a function of `nn` that notes how it is called, and calls another one for the step."""

        def call(*args: Any, **kwargs: Any) -> Any:
            ours = threading.get_ident() == self.thread
            run = called if ours else function
            result = run(*map(plain, args), **{key: plain(value) for key, value in kwargs.items()})
            if not self.reason and ours:
                try:
                    self._note(name, function, args, kwargs, result)
                except NotReplayableError as e:
                    self.fail(str(e))
            return result

        return call

    def _note(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> None:
        bound = _SIGNATURES[name].bind(None, *args, **kwargs)
        bound.apply_defaults()
        _, *pairs = bound.arguments.items()
        arguments = {key: self._argument(name, key, value) for key, value in pairs}
        results = result if isinstance(result, tuple) else (result,)
        changed = [arguments[key] for key in nn.FUNCTIONS[name].changed]
        # What an optimizer returns may be another view of the array that it changed.
        numbers = [
            None if r is None else self._know(r, changed[i]) if changed else self._add(r)
            for i, r in enumerate(results)
        ]
        self.calls.append(Call(name, function, arguments, numbers))

    def _argument(self, name: str, key: str, value: Any) -> Any:
        # A program keeps a number as it was, except one that may differ from call to call.
        if isinstance(value, Counter) and key not in nn.FUNCTIONS[name].varying:
            raise NotReplayableError(f"`{key}` of `nn.{name}` is a number that may change")
        if isinstance(value, numpy.generic) and id(value) not in self._numbers:
            return value.item()
        return self._reference(value, f"`{key}` of `nn.{name}` is an array") if is_array(value) else value

    def _reference(self, x: Any, what: str) -> Reference:
        if id(x) not in self._numbers:
            raise NotReplayableError(f"{what} that neither came as an argument nor was made by `xp.nn`")
        return Reference(self._numbers[id(x)])

    def _add(self, x: Array, argument: int | None = None) -> Reference:
        self.values.append(Value(x, argument))
        return self._know(x, len(self.values) - 1)

    def _know(self, x: Array, number: int) -> Reference:
        self._numbers[id(x)] = number
        self._kept.append(x)
        return Reference(number)


def span(array: Array) -> tuple[int, int]:
    """Return where the memory of an array that is stored row by row begins and ends."""
    if isinstance(array, numpy.generic):  # It cannot change, and NumPy makes it an address at each question.
        return 0, 0
    try:
        begin = array.__array_interface__["data"][0]
    except AttributeError:
        begin = array.data.ptr  # of CuPy
    return begin, begin + array.nbytes


def are_apart(spans: Mapping[int, tuple[int, int]], changed: Collection[int]) -> bool:
    """Return whether no array that is changed shares memory with another one, given the spans of all."""
    furthest = furthest_changed = 0  # ends of the arrays that begin before
    for place, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin == end:
            continue
        if begin < furthest_changed or (place in changed and begin < furthest):
            return False
        furthest = max(furthest, end)
        if place in changed:
            furthest_changed = max(furthest_changed, end)
    return True


def plain(x: Any) -> Any:
    """Return the number that a `Counter` is, and all else as it is."""
    return int.__add__(x, 0) if isinstance(x, Counter) else x


def is_array(x: Any) -> bool:
    """Return whether this is an array of a library, or a number of NumPy's, and not their class, a dtype."""
    return not isinstance(x, type) and bool(array_api_compat.is_array_api_obj(x))
