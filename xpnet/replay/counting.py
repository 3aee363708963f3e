"""Whole numbers among the arguments of a step that is traced, and what functions make of them."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy

from xpnet.replay.trace import Running
from xpnet.replay.tree import leaves, rebuilt


class Counting:
    """A whole number among a step's arguments, which remembers what is added to it, or a `computed` one.

    Whatever else is computed with it would stay in the program as it was, so `spoil` is called then, unless
    it `computes`: then arithmetic with plain numbers gives another such number. This passes for an int or a
    float, but is none: ``0.1 * number`` reads a real one without a call of any of its methods.
    """

    __slots__ = ("computes", "running", "spoil", "value")

    def __init__(
        self, value: Any, running: Running, spoil: Callable[[], None], *, computes: bool = False
    ) -> None:
        self.value, self.running, self.spoil, self.computes = value, running, spoil, computes

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)

    def __add__(self, other: Any) -> Any:
        if type(other) is not int or self.running.function is not None:
            return _add(self, other)
        running = dataclasses.replace(self.running, added=self.running.added + other)
        return Counting(self.value + other, running, self.spoil, computes=self.computes)

    def __radd__(self, other: Any) -> Any:
        return self + other if type(other) is int else _reflected_add(self, other)

    def maker(self, added: int) -> Callable[[int], Any]:
        """Return a function that takes the number with so much added, and returns this one."""
        function, more = self.running.function or int, self.running.added - added
        return lambda number: function(number + more)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        self.spoil()
        return getattr(function, method)(*map(as_int, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        self.spoil()
        args, options = ((rebuilt(x, map(as_int, leaves(x)))) for x in (args, options))
        return function(*args, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        self.spoil()
        return numpy.asarray(self.value, dtype)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.value, name)
        self.spoil()
        return found


def _spoiling(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    """Return a method that calls a function of the plain number, behind the other one if it is reflected."""

    def method(self: Counting, *others: Any) -> Any:
        self.spoil()
        found = [self.value, *map(as_int, others)]
        return function(*(found[::-1] if reflected else found))

    return method


def _computing(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    """Return the same, which gives a number that each replay computes anew, if `computes`."""
    spoil = _spoiling(function, reflected=reflected)

    def method(self: Counting, *others: Any) -> Any:
        running = self.running
        if not self.computes:
            return spoil(self, *others)
        if any(type(x) not in (int, float, Counting) for x in others):
            return NotImplemented  # An array notes by itself what is done with it.
        given = [self, *others][:: -1 if reflected else 1]
        if any(x.running.leaf != running.leaf for x in given if type(x) is Counting):
            return spoil(self, *others)
        makers = [x.maker(running.added) if type(x) is Counting else _constant(x) for x in given]
        made = dataclasses.replace(
            running, function=lambda number: function(*[make(number) for make in makers])
        )
        return Counting(function(*map(as_int, given)), made, self.spoil, computes=True)

    return method


def _constant(x: Any) -> Callable[[int], Any]:
    return lambda number: x


_add, _reflected_add = _computing(operator.add), _computing(operator.add, reflected=True)
_ARITHMETIC = "sub", "mul", "truediv", "floordiv", "mod", "pow"
_BINARY = "lshift", "rshift", "and", "or", "xor"
_OTHERS = "eq", "ne", "lt", "le", "gt", "ge", "index", "invert"
_CALLED = bool, divmod, float, format, hash, int, repr, round, str, math.ceil, math.floor, math.trunc
_METHODS = {
    **{name: _computing(getattr(operator, f"__{name}__")) for name in (*_ARITHMETIC, "abs", "neg", "pos")},
    **{f"r{name}": _computing(getattr(operator, f"__{name}__"), reflected=True) for name in _ARITHMETIC},
    **{name: _spoiling(getattr(operator, f"__{name}__")) for name in (*_BINARY, *_OTHERS)},
    **{f"r{name}": _spoiling(getattr(operator, f"__{name}__"), reflected=True) for name in _BINARY},
    **{function.__name__: _spoiling(function) for function in _CALLED},
    "rdivmod": _spoiling(divmod, reflected=True),
    "reduce_ex": _spoiling(lambda number, *protocol: number.__reduce_ex__(*protocol)),
}
for _name, _method in _METHODS.items():
    setattr(Counting, f"__{_name}__", _method)


def computed(function: Callable[[int], float], number: Any) -> Any:
    """Return what a function makes of a whole number.

    Of one that a traced step is given, this is a number that each replay computes anew. The step may pass it
    on where a function of `nn` takes a float, and do nothing else with it.
    """
    if type(number) is not Counting or number.running.function is not None:
        return function(number)
    running = dataclasses.replace(number.running, function=function)
    return Counting(function(number.value), running, number.spoil, computes=number.computes)


def as_int(x: Any) -> Any:
    """Return the plain number in place of one that a traced step is given, and all else as it is."""
    return x.value if type(x) is Counting else x
