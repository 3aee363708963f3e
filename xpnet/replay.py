"""`xp.compile`: a step is recorded once for each set of shapes; from then on its program is carried out.

A backend makes the programs, and `Replayed` decides when to trust them.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy

from xpnet.recording import (
    Counter,
    NotReplayableError,
    Recording,
    Reference,
    is_array,
    leaves,
    record,
    replaced,
)

Array = Any
Tree = Any

# Each keeps arrays for what is between arguments and results; the least recently used one makes room.
_MOST_PROGRAMS = 8
# How far a program may be off in its first trial, as a share of the largest change or value of an array.
_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
# Arrays of so many elements are the images of a data set: too many to be copied and looked at for changes.
_DATA_SET = 2**24
_OTHER_RESULTS = (
    "replayed, the step gives other results than as it is: it may change arrays by other means than `xp.nn`, "
    "or compute with values that it reads"
)

_NOTHING = object()

# Held while a step is recorded or tried: that changes `xp.nn` for all threads.
_watching = threading.Lock()


class Program(Protocol):
    """A recorded step, ready to be carried out on other arrays of the same shapes.

    Leaves are those of the arguments, in the order of `recording.leaves`.
    """

    @property
    def origins(self) -> list[int | None]:
        """For each leaf of the result, which leaf of the arguments it is, changed or not."""
        ...

    def fits(self, values: list[Any]) -> bool:
        """Return whether these leaves have the form, the shapes and the dtypes of the recorded ones."""
        ...

    def changes(self, place: int) -> bool:
        """Return whether the leaf at a place is an array that is changed."""
        ...

    def forget(self) -> None:
        """Let go of the arguments."""
        ...

    def __call__(self, values: list[Any]) -> Any:
        """Carry the program out on leaves that fit, and return what the step returns."""
        ...


class Arguments:
    """The leaves of a program's arguments: what they must be like, and which ones are at hand.

    Parameters
    ----------
    recording : Recording

    Attributes
    ----------
    numbers : dict of int to int
        The numbers of the values among them, by place.
    at_hand : list
        The leaves of the last call, or what a program put in their place because they fit too; before the
        first call, what is no leaf of any.
    """

    def __init__(self, recording: Recording) -> None:
        self.numbers = {
            value.argument: number
            for number, value in enumerate(recording.values)
            if value.argument is not None
        }
        self._kinds = [
            _kind(leaf) if place in self.numbers else leaf for place, leaf in enumerate(recording.leaves)
        ]
        self._places = range(len(self._kinds))
        self.forget()

    def moved(self, values: list[Any]) -> list[int]:
        """Return the places of the leaves that are not those at hand."""
        return [*itertools.compress(self._places, map(operator.is_not, values, self.at_hand))]

    def fit(self, values: list[Any]) -> bool:
        """Return whether these leaves have the form, the shapes and the dtypes of the recorded ones."""
        if len(values) != len(self._kinds):
            return False
        for place in self.moved(values):
            value, kind = values[place], self._kinds[place]
            if place in self.numbers:
                if _kind(value) != kind:
                    return False
            elif type(value) is not type(kind) or (type(kind) is not int and value != kind):
                return False
        return len({id(values[place]) for place in self.numbers}) == len(self.numbers)

    def forget(self) -> None:
        """Let go of the leaves at hand."""
        self.at_hand: list[Any] = [_NOTHING] * len(self._kinds)

    def result(self, tree: Tree, array: Callable[[Reference], Callable[[], Array]]) -> Callable[[], Tree]:
        """Return a function that makes what a step returns, from the arrays and the leaves at hand.

        Parameters
        ----------
        tree : tree
            Its form: the result of a recording.
        array : callable
            Takes the number of a value, and returns a function that returns its array.
        """
        if type(tree) is dict:
            items = [(key, self.result(item, array)) for key, item in tree.items()]
            return lambda: {key: make() for key, make in items}
        if type(tree) is tuple or type(tree) is list:
            kind, makers = type(tree), [self.result(item, array) for item in tree]
            return lambda: kind([make() for make in makers])
        if type(tree) is Reference:
            return array(tree)
        if type(tree) is Counter:
            return lambda: self.at_hand[tree.argument] + tree.added
        return lambda: tree


class Replayed:
    """A step that is replayed where that is possible.

    The first call with new shapes is recorded. In the second one the program is tried on copies beside the
    step, and from the third one on it takes the step's place.

    Parameters
    ----------
    xp : Namespace
    step : callable
    make_program : callable
        Takes a `Recording` and returns its `Program`, or raises `NotReplayableError`.
    functions : namespace, optional
        What is called in the place of ``xp.nn`` while the step is recorded and tried.
    quiet : callable, optional
        Returns a context in which to record and to try.

    Attributes
    ----------
    report : str
        Why it cannot be replayed; empty while it can.
    programs : list of Program
        The last used first.
    """

    def __init__(
        self,
        xp: Any,
        step: Callable[..., Any],
        make_program: Callable[[Recording], Program],
        *,
        functions: Any = None,
        quiet: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.report = ""
        self._xp = xp
        self._step = step
        self._make_program = make_program
        self._functions = functions
        self._quiet = quiet
        self.programs: list[Program] = []
        self._trusted: set[Program] = set()
        self._running = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        # Another thread may be in the midst of a program, whose arrays are there once.
        if self.report or not self._running.acquire(blocking=False):
            return self._step(*args, **kwargs)
        try:
            values = leaves((args, kwargs))
            for i, program in enumerate(self.programs):
                if program.fits(values):
                    if i > 0:
                        self.programs.insert(0, self.programs.pop(i))
                    if program in self._trusted:
                        return self._carry_out(program, values)
                    break
            else:
                program = None
            return self._watch(program, values, args, kwargs)
        finally:
            self._running.release()

    def _carry_out(self, program: Program, values: list[Any]) -> Any:
        try:
            return program(values)
        except BaseException:
            program.forget()  # Nobody knows how far it came.
            raise

    def _watch(self, program: Program | None, values: list[Any], args: Any, kwargs: Any) -> Any:
        if not _watching.acquire(blocking=False):
            return self._step(*args, **kwargs)
        try:
            with self._quiet():
                if program is None:
                    return self._record(args, kwargs)
                return self._try(program, values, args, kwargs)
        finally:
            _watching.release()

    def _record(self, args: Any, kwargs: Any) -> Any:
        try:
            result, recording = record(self._xp, self._step, args, kwargs, functions=self._functions)
        except NotReplayableError as e:
            self.report, result = e.args
            return result
        try:
            self.programs.insert(0, self._make_program(recording))
        except Exception as e:  # The step has run, and its results are good, whatever is wrong here.
            self.report = str(e) if isinstance(e, NotReplayableError) else f"{type(e).__name__}: {e}"
        self._trusted.difference_update(self.programs[_MOST_PROGRAMS:])
        del self.programs[_MOST_PROGRAMS:]
        return result

    def _try(self, program: Program, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Do what the step does, and see whether the program does the same with copies."""
        changed = [program.changes(i) for i in range(len(values))]
        try:
            copies = [self._copy(v) if c else v for v, c in zip(values, changed, strict=True)]
            replayed = self._carry_out(program, copies)
            found = [self._on_host(leaf) for leaf in leaves(replayed)]
        except Exception as e:  # On copies: the step itself can still be taken.
            self.report = f"{type(e).__name__}: {e}"
            return self._step(*args, **kwargs)
        program.forget()
        before = [self._on_host(value) if self._is_float(value) else value for value in values]
        with replaced(self._xp, self._functions or self._xp.nn):
            result = self._step(*args, **kwargs)
        expected = [self._on_host(leaf) for leaf in leaves(result)]
        starts = [None if place is None else before[place] for place in program.origins]
        same = all(map(_is_near, found, expected, starts))
        kept = [i for i, value in enumerate(values) if self._is_float(value) and not changed[i]]
        if same and all(self._is_as_before(values[i], before[i]) for i in kept):
            self._trusted.add(program)
        else:
            self.report = _OTHER_RESULTS
        return result

    def _copy(self, value: Any) -> Any:
        return self._xp.asarray(value, copy=True)

    def _on_host(self, leaf: Any) -> Any:
        """Return a copy of an array on the host, and all else as it is."""
        return numpy.array(self._xp.to_host(leaf)) if is_array(leaf) else leaf

    def _is_float(self, value: Any) -> bool:
        """Return whether a leaf is what a step might change: floats, but not the images of a data set."""
        return is_array(value) and self._xp.isdtype(value.dtype, "real floating") and value.size < _DATA_SET

    def _is_as_before(self, value: Array, before: Array) -> bool:
        return numpy.array_equal(self._xp.to_host(value), before, equal_nan=True)


def _kind(array: Any) -> Any:
    """Return what must be alike in arrays that take each other's place; None for what is no array."""
    try:
        return array.shape, array.dtype, array.device, array.flags.c_contiguous
    except AttributeError:
        return None


def _is_near(found: Any, expected: Any, start: Any) -> bool:
    """Return whether leaves of two results are equal to rounding, `start` being what the step began with."""
    if not isinstance(expected, numpy.ndarray):
        return type(found) is type(expected) and found == expected
    if not isinstance(found, numpy.ndarray) or found.dtype != expected.dtype:
        return False
    if expected.dtype.kind != "f":
        return numpy.array_equal(found, expected)
    finite = numpy.isfinite(expected)
    if not numpy.array_equal(numpy.isfinite(found), finite):
        return False
    values = expected[finite]
    changes = values if start is None else values - start[finite]
    tolerance = _TOLERANCE[expected.dtype.name] * _largest(changes)
    rounding = 16 * numpy.finfo(expected.dtype).eps * _largest(values)
    return bool(_largest(found[finite] - values) <= tolerance + rounding)


def _largest(x: Array) -> float:
    return float(numpy.max(numpy.abs(x), initial=0.0))
