"""Tracing a step: its calls of `xp.nn` are recorded while it runs normally.

The step is given a namespace whose `nn` notes each call. Nothing else changes, and threads can trace at once.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy

from xpnet import nn
from xpnet.namespace import Namespace
from xpnet.replay.counting import Counting, as_int
from xpnet.replay.overlap import are_apart, span
from xpnet.replay.trace import Call, NotReplayableError, Running, Trace, Value, kind_of
from xpnet.replay.tree import is_array, leaves, rebuilt

Array = Any
Tree = Any
Arguments = list[tuple[str, Any]]
Check = Callable[[str, Callable[..., Any]], Callable[..., Any]]


def trace(
    xp: Namespace,
    step: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    plain: Namespace | None = None,
    check: Check | None = None,
) -> tuple[Any, Trace]:
    """Run ``step(xp, *args, **kwargs)``, and return what it returned and its trace.

    Parameters
    ----------
    xp : Namespace
        Its functions are those of the trace.
    step : callable
    args : tuple
    kwargs : dict, optional
    plain : Namespace, optional
        Whose functions are called meanwhile, if not those of `xp`.
    check : callable, optional
        Takes the name of a function and what is called for it; returns what checks that call.

    Raises
    ------
    NotReplayableError
        If the step used an array that neither came with its arguments nor was made by the `xp.nn` that it was
        given, or a whole number that may change other than as the declaration of a function allows. The
        results are the error's second argument, because the step has run.
    """
    flat = leaves((args, kwargs or {}))
    recorder = _Recorder(flat)
    given = iter([recorder.argument(place, leaf) for place, leaf in enumerate(flat)])
    args, kwargs = rebuilt((args, kwargs or {}), given)
    check = check or (lambda name, function: function)
    noting = {
        name: recorder.noting(name, f, check(name, getattr((plain or xp).nn, name)))
        for name, f in vars(xp.nn).items()
    }
    result = step(xp.with_functions(types.SimpleNamespace(**noting)), *args, **kwargs)
    if not recorder.reason:
        recorder.look_for_overlap()
    template = rebuilt(result, iter([recorder.result(leaf) for leaf in leaves(result)]))
    result = rebuilt(result, map(as_int, leaves(result)))
    if recorder.reason:
        raise NotReplayableError(recorder.reason, result)
    return result, Trace(flat, *recorder.handed_over(), template)


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
    """What is noted of a step while it runs."""

    def __init__(self, arguments: list[Any]) -> None:
        self.reason = fault_of(arguments)
        self._arguments: dict[Value, Array] = {}
        self._calls: list[Call] = []
        self._values: dict[int, Value] = {}  # by the identity of the array, which `_kept` keeps alive
        self._kept: list[Any] = []

    def look_for_overlap(self) -> None:
        """Refuse arguments that share memory of which a part is changed."""
        numbers = {value: i for i, value in enumerate(self._arguments)}
        changed = {numbers[v] for call in self._calls for v in call.changed if v in numbers}
        if changed and not are_apart({numbers[v]: span(x) for v, x in self._arguments.items()}, changed):
            self.fail("the step is given arrays that share memory, and changes one of them")

    def handed_over(self) -> tuple[dict[Value, Array], list[Call]]:
        """Return what was noted, and keep none of it: numbers that the step was given hold this object."""
        noted = self._arguments, self._calls
        self._arguments, self._calls, self._values, self._kept = {}, [], {}, []
        return noted

    def fail(self, reason: str) -> None:
        self.reason = self.reason or reason

    def argument(self, place: int, leaf: Any) -> Any:
        """Note a leaf of the arguments, and return what the step gets in its place."""
        if is_array(leaf):
            self._arguments[self._add(leaf, place)] = leaf
        elif type(leaf) is int:
            return Counting(leaf, Running(place, 0), self._spoil)
        return leaf

    def _spoil(self) -> None:
        self.fail(
            "the step computes with a whole number that it is given, more than to add to it, or with what a "
            "schedule made of it"
        )

    def result(self, leaf: Any) -> Any:
        """Return what stands for a leaf of the result."""
        if not is_array(leaf):
            if not (leaf is None or type(leaf) in (str, bool, tuple, Counting)):
                self.fail(f"the step returns what is neither an array nor an argument: {type(leaf).__name__}")
            return leaf.running if isinstance(leaf, Counting) else leaf
        try:
            return self._known(leaf, "the step returns an array")
        except NotReplayableError as e:
            self.fail(str(e))
            return leaf

    def noting(
        self, name: str, function: Callable[..., Any], called: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return a function of `nn` that notes how it is called, and calls another one for the step."""
        signature = inspect.signature(nn.FUNCTIONS[name].twin)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = called(*map(as_int, args), **{key: as_int(value) for key, value in kwargs.items()})
            if not self.reason:
                bound = signature.bind(None, *args, **kwargs)
                bound.apply_defaults()
                try:
                    self._note(name, function, [*bound.arguments.items()][1:], result)
                except NotReplayableError as e:
                    self.fail(str(e))
            return result

        return call

    def _note(self, name: str, function: Callable[..., Any], given: Arguments, result: Any) -> None:
        declared = nn.FUNCTIONS[name]
        arguments = {key: self._argument(declared, key, value) for key, value in given}
        arrays = {key: value for key, value in arguments.items() if isinstance(value, Value)}
        numbers = {key: value for key, value in arguments.items() if key not in arrays}
        found = result if isinstance(result, tuple) else (result,)
        if declared.changed:
            if not arrays.keys() >= {*declared.changed}:
                raise NotReplayableError(f"`nn.{name}` is given a number to change")
            # What is returned may be another view of the array that was changed.
            known = [arrays[key] for key in declared.changed]
            made: list[Any] = [self._know(x, value) for x, value in zip(found, known, strict=True)]
        else:
            made = [None if x is None else self._add(x) for x in found]
        self._calls.append(Call(declared, function, arrays, numbers, tuple(made)))

    def _argument(self, declared: nn.Function, key: str, value: Any) -> Any:
        if isinstance(value, Counting):
            # A program keeps a number as it was, except one that may differ from call to call.
            is_whole = value.running.function is None
            if not (key in declared.varying if is_whole else declared.numbers.get(key) is float):
                raise NotReplayableError(f"`{key}` of `nn.{declared.name}` is a number that may change")
            return value.running
        if isinstance(value, numpy.generic) and id(value) not in self._values:
            return value  # Not as Python's: in arithmetic of numbers its dtype counts.
        if not is_array(value):
            return value
        return self._known(value, f"`{key}` of `nn.{declared.name}` is an array")

    def _known(self, x: Any, what: str) -> Value:
        if id(x) not in self._values:
            raise NotReplayableError(
                f"{what} that neither came as an argument nor was made by `xp.nn` of the step's own `xp`"
            )
        return self._values[id(x)]

    def _add(self, x: Array, leaf: int | None = None) -> Value:
        return self._know(x, Value(tuple(x.shape), x.dtype, leaf, kind_of(x)))

    def _know(self, x: Array, value: Value) -> Value:
        self._values[id(x)] = value
        self._kept.append(x)
        return value
