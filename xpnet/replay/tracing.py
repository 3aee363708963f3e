"""Tracing a step: its calls of `xp.nn` are recorded while it runs normally.

The step is given a namespace whose `nn` notes each call. Nothing else changes, and threads can trace at once.
If a step does more with its arrays, it can be traced by what it does with `recorded` ones.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnet import nn
from xpnet.namespace import Namespace
from xpnet.replay.counting import Counting
from xpnet.replay.library_calls import (
    call_of,
    fault_of_call,
    fault_of_result,
    results_of,
    takes_numbers,
    value_of,
)
from xpnet.replay.lines import running_line
from xpnet.replay.overlap import are_apart, span
from xpnet.replay.recorded import Recorded, plain_of, recording_namespace
from xpnet.replay.trace import Call, NotReplayableError, Running, Trace, UnknownArrayError, Value, kind_of
from xpnet.replay.tree import is_array, leaves, rebuilt
from xpnet.replay.trial import DATA_SET
from xpnet.replay.views import Views

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
    whole: bool = False,
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
    whole : bool
        Whether to record all that the step does with its arrays: calls of functions of `xp`, operators and
        methods too. The step is then given arrays of class `Recorded`, and does not change the arguments.

    Raises
    ------
    NotReplayableError
        If the step used an array that neither came with its arguments nor was made by the `xp.nn` that it was
        given, or a whole number that may change other than as the declaration of a function allows. The
        results are the error's second argument, because the step has run, unless `whole`. It is an
        `UnknownArrayError` if a trace of the whole may succeed.
    """
    flat = leaves((args, kwargs or {}))
    recorder = _Recorder(flat, whole=whole)
    given = iter([recorder.argument(place, leaf) for place, leaf in enumerate(flat)])
    args, kwargs = rebuilt((args, kwargs or {}), given)
    check = check or (lambda name, function: function)
    noting = {
        name: recorder.noting(name, f, check(name, getattr((plain or xp).nn, name)))
        for name, f in vars(xp.nn).items()
    }
    result = step(recorder.namespace(xp, types.SimpleNamespace(**noting)), *args, **kwargs)
    if not recorder.reason:
        recorder.look_for_overlap()
    template = rebuilt(result, iter([recorder.result(leaf) for leaf in leaves(result)]))
    result = rebuilt(result, map(plain_of, leaves(result)))
    if recorder.reason:
        raise recorder.kind(recorder.reason, result)
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
    """What is noted of a step while it runs.

    Parameters
    ----------
    arguments : list
        The leaves of the step's arguments.
    whole : bool
        See `trace`. What cannot be recorded then ends the step with an error.

    Attributes
    ----------
    reason : str
        Why the step cannot be replayed; empty if it can.
    kind : type
        The class of the error that says so.
    """

    def __init__(self, arguments: list[Any], *, whole: bool) -> None:
        self.reason = fault_of(arguments)
        self.kind: type[NotReplayableError] = NotReplayableError
        self._whole = whole
        self._views = Views()
        self._arguments: dict[Value, Array] = {}
        self._calls: list[Call] = []
        self._values: dict[int, Value] = {}  # by the identity of the array, which `_kept` keeps alive
        self._kept: list[Any] = []

    def namespace(self, xp: Namespace, functions: Any) -> Namespace:
        """Return what the step is given as its namespace."""
        return recording_namespace(xp, functions, self) if self._whole else xp.with_functions(functions)

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
        self._views = Views()
        return noted

    def fail(self, reason: str, kind: type[NotReplayableError] = NotReplayableError) -> None:
        if not self.reason:
            self.reason, self.kind = reason, kind
        if self._whole:
            raise self.kind(self.reason, None)

    def refuse(self, reason: str) -> None:
        """Fail because of what the line that runs does."""
        self.fail(f"{running_line()} {reason}", UnknownArrayError)

    def argument(self, place: int, leaf: Any) -> Any:
        """Note a leaf of the arguments, and return what the step gets in its place."""
        if is_array(leaf):
            value = self._add(leaf, place)
            self._arguments[value] = leaf
            return Recorded(_spared(leaf), value, self) if self._whole else leaf
        if type(leaf) is int:
            return Counting(leaf, Running(place, 0), self._spoil, computes=self._whole)
        return leaf

    def _spoil(self) -> None:
        self.refuse("computes with a whole number that the step is given, or with what a schedule made of it")

    def result(self, leaf: Any) -> Any:
        """Return what stands for a leaf of the result."""
        if not is_array(leaf):
            if not (leaf is None or type(leaf) in (str, bool, tuple, Counting)):
                text = f"the step returns what is neither an array nor an argument: {type(leaf).__name__}"
                self.fail(text, UnknownArrayError)
            return leaf.running if isinstance(leaf, Counting) else leaf
        try:
            return self._known(leaf, "the step returns an array")
        except NotReplayableError as e:
            self.fail(str(e), type(e))
            return leaf

    def noting(
        self, name: str, function: Callable[..., Any], called: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return a function of `nn` that notes how it is called, and calls another one for the step."""
        signature, changed = inspect.signature(nn.FUNCTIONS[name].twin), nn.FUNCTIONS[name].changed

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._whole:
                self._spare([signature.bind(None, *args, **kwargs).arguments[key] for key in changed])
            result = called(*map(plain_of, args), **{key: plain_of(value) for key, value in kwargs.items()})
            if self.reason:
                return result
            bound = signature.bind(None, *args, **kwargs)
            bound.apply_defaults()
            try:
                made = self._note(name, function, [*bound.arguments.items()][1:], result)
            except NotReplayableError as e:
                self.fail(f"{running_line()}: {e}" if self._whole else str(e), type(e))
                return result
            return self._recorded(result, made) if self._whole else result

        return call

    def call(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """Return what a function of the library gives, and note the call."""
        flat = leaves((args, options))
        given = [x for x in flat if type(x) is Recorded]
        if any(type(x) is Counting for x in flat) and not takes_numbers(name, function):
            self._spoil()
        if any(self._views.is_stale(x.value) for x in given):
            self.refuse("uses a view of an array that was changed since")
        if fault := fault_of_call(name, args, options):
            self.refuse(fault)
        plain = rebuilt((args, options), map(plain_of, flat))
        found = function(*plain[0], **plain[1])
        if fault := fault_of_result(name, given, found):
            self.refuse(fault)
        several = [x for x in results_of(found) if is_array(x)]
        if not several:  # what is known of shapes and dtypes
            return found
        for x in given:
            if found is x.array and not isinstance(found, numpy.generic):
                return x
        made = [value_of(x) for x in several]
        for value, array in zip(made, several, strict=True):
            self._views.add(value, array, given)
        self._calls.append(call_of(name, function, args, options, made))
        return self._recorded(found, made)

    def _recorded(self, result: Any, values: Sequence[Value | None]) -> Any:
        """Return what a call gave, with recorded arrays."""
        found = [
            x if value is None else Recorded(x, value, self)
            for x, value in zip(results_of(result), values, strict=True)
        ]
        if not isinstance(result, tuple | list):
            return found[0]
        return type(result)(found) if type(result) in (tuple, list) else type(result)(*found)

    def _spare(self, changed: list[Any]) -> None:
        """Let a function change copies of the step's arguments."""
        for x in changed:
            if type(x) is Recorded and any(x.array is array for array in self._arguments.values()):
                x.array = x.array.copy()

    def _note(
        self, name: str, function: Callable[..., Any], given: Arguments, result: Any
    ) -> list[Value | None]:
        """Note a call of a function of `nn`, and return its results as values."""
        declared = nn.FUNCTIONS[name]
        arguments = {key: self._argument(declared, key, value) for key, value in given}
        arrays = {key: value for key, value in arguments.items() if isinstance(value, Value)}
        numbers = {key: value for key, value in arguments.items() if key not in arrays}
        found = results_of(result)
        made: list[Value | None]
        if declared.changed:
            if not arrays.keys() >= {*declared.changed}:
                raise NotReplayableError(f"`nn.{name}` is given a number to change")
            # What is returned may be another view of the array that was changed.
            known = [arrays[key] for key in declared.changed]
            if self._views.change(known):
                raise NotReplayableError(f"`nn.{name}` is given a view to change")
            made = [self._know(x, value) for x, value in zip(found, known, strict=True)]
        else:
            made = [None if x is None else self._add(x) for x in found]
        self._calls.append(Call(declared, function, arrays, numbers, tuple(made)))
        return made

    def _argument(self, declared: nn.Function, key: str, value: Any) -> Any:
        if isinstance(value, Counting):
            # A program keeps a number as it was, except one that may differ from call to call.
            is_whole = value.running.function is None
            if not (key in declared.varying if is_whole else declared.numbers.get(key) is float):
                raise NotReplayableError(f"`{key}` of `nn.{declared.name}` is a number that may change")
            return value.running
        if type(value) is not Recorded:
            if isinstance(value, numpy.generic) and id(value) not in self._values:
                return value  # Not as Python's: in arithmetic of numbers its dtype counts.
            if not is_array(value):
                return value
        return self._known(value, f"`{key}` of `nn.{declared.name}` is an array")

    def _known(self, x: Any, what: str) -> Value:
        if type(x) is Recorded:
            if self._views.is_stale(x.value):
                raise NotReplayableError(f"{what} that is a view of one that was changed since")
            return x.value
        if self._whole or id(x) not in self._values:
            raise UnknownArrayError(
                f"{what} that neither came as an argument nor was made by `xp.nn` of the step's own `xp`"
            )
        return self._values[id(x)]

    def _add(self, x: Array, leaf: int | None = None) -> Value:
        return self._know(x, Value(tuple(x.shape), x.dtype, leaf, kind_of(x)))

    def _know(self, x: Array, value: Value) -> Value:
        self._values[id(x)] = value
        self._kept.append(x)
        return value


def _spared(x: Array) -> Array:
    """Return a copy of what functions might change even if they do not say so; not of a data set."""
    return x.copy() if x.dtype.kind == "f" and x.size < DATA_SET else x
