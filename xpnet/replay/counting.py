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

    Whatever else is computed with it would stay in the program as it was, so `spoil` is called then. This
    passes for an int or a float, but is none: ``0.1 * number`` reads a real one without a call of any of its
    methods.
    """

    __slots__ = ("running", "spoil", "value")

    def __init__(self, value: Any, running: Running, spoil: Callable[[], None]) -> None:
        self.value, self.running, self.spoil = value, running, spoil

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)

    def __add__(self, other: Any) -> Any:
        if type(other) is not int or self.running.function is not None:
            self.spoil()
            return self.value + as_int(other)
        running = dataclasses.replace(self.running, added=self.running.added + other)
        return Counting(self.value + other, running, self.spoil)

    def __radd__(self, other: Any) -> Any:
        if type(other) is not int or self.running.function is not None:
            self.spoil()
            return other + self.value
        return self + other

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


_BINARY = "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor"
_OTHERS = "eq", "ne", "lt", "le", "gt", "ge", "abs", "index", "invert", "neg", "pos"
_CALLED = bool, divmod, float, format, hash, int, repr, round, str, math.ceil, math.floor, math.trunc
_METHODS = {
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
    return Counting(function(number.value), running, number.spoil)


def as_int(x: Any) -> Any:
    """Return the plain number in place of one that a traced step is given, and all else as it is."""
    return x.value if type(x) is Counting else x
