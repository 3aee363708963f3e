"""`xp.compile`: a step is recorded once for each set of shapes; from then on its program is carried out.

A backend makes the programs, and `Replayed` decides when to trust them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from xpnet.captured import Captured, Patience
from xpnet.folding import fold, next_carry
from xpnet.program import Program, Replay
from xpnet.recording import NotReplayableError, Recording, is_array, leaves, record, replaced

Array = Any

# Each keeps arrays for what is between arguments and results; the least recently used one makes room.
_MOST_PROGRAMS = 8
# How far a program may be off in its first trial, as a share of the largest change or value of an array.
_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
# Arrays of so many elements that a program does not change are the images of a data set: too many to copy.
_DATA_SET = 2**24
_OTHER_RESULTS = (
    "replayed, the step gives other results than as it is: it may change arrays by other means than `xp.nn`, "
    "or compute with values that it reads"
)

# Small numbers that underflow are as good as 0. Entered once for a call or a fold, whatever it does in it.
_SILENT = numpy.errstate(under="ignore")

# Held while a step is recorded or tried: that changes `xp.nn` for all threads.
_watching = threading.Lock()


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
        self.__wrapped__ = step
        self._xp = xp
        self._step = step
        self._make_program = make_program
        self._functions = functions
        self._quiet = quiet
        self._replays: list[Replay] = []
        self._trusted: set[Replay] = set()
        self._last: Replay | None = None  # what did the last call, if one did
        self._captured: Captured | None = None  # as it was at the recordings; None if it cannot change
        self._patience = Patience()
        self._running = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return how pickle and copy make a step anew, which has to be recorded again."""
        return _compiled, (self._xp, self._step)

    @property
    def programs(self) -> list[Program]:
        """The programs, the last used first."""
        return [replay.program for replay in self._replays]

    @_SILENT
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        # Another thread may be in the midst of a program, whose arrays are there once.
        if not self._running.acquire(blocking=False):
            return self._step(*args, **kwargs)
        try:
            return self._call(*args, **kwargs)
        finally:
            self._running.release()

    @_SILENT
    def fold(self, carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
        """See `xpnet.Namespace.fold`."""
        if not self._running.acquire(blocking=False):
            return fold(self._step, carry, items)
        try:
            return self._fold(carry, items)
        finally:
            self._running.release()

    def _fold(self, carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
        replay: Replay | None = None  # whose last results are the carry
        captured: Captured | None = None
        for item in items:
            if replay is not None:
                if (captured is None or not captured.change()) and replay.follow(item):
                    continue
                carry = replay.result()
            carry = next_carry(self._call, carry, item)
            replay, captured = self._last, self._captured
            if replay is not None:
                carry = ()  # The replay has it, and lets go of it in time.
        return carry if replay is None else replay.result()

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        self._last = None
        if self._captured is not None:
            self._look_for_changes(self._captured)
        if self.report:
            return self._step(*args, **kwargs)
        values = leaves((args, kwargs))
        for i, replay in enumerate(self._replays):
            moved = replay.moved(values)
            if moved is not None:
                if i > 0:
                    self._replays.insert(0, self._replays.pop(i))
                if replay not in self._trusted:
                    return self._watch(replay, values, args, kwargs)
                replay.run(values, moved)
                self._last = replay
                self._patience.reward()
                return replay.result()
        return self._watch(None, values, args, kwargs)

    def _look_for_changes(self, captured: Captured) -> None:
        """Drop the programs if something has changed that the step reaches."""
        if changed := captured.change():
            self._give_up(self._patience.changed(changed))

    def _watch(self, replay: Replay | None, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Record or try the step, unless that is done to another one just now."""
        if not _watching.acquire(blocking=False):
            return self._step(*args, **kwargs)
        try:
            with self._quiet():
                if replay is None:
                    return self._record(args, kwargs)
                return self._try(replay, values, args, kwargs)
        finally:
            _watching.release()

    def _record(self, args: Any, kwargs: Any) -> Any:
        captured = Captured(self._xp, self._step)
        try:
            result, recording = record(self._xp, self._step, args, kwargs, functions=self._functions)
        except NotReplayableError as e:
            reason, result = e.args
            self._give_up(captured.fault() or reason)
            return result
        fault, changed = captured.fault(), captured.change()
        if fault or changed:
            self._give_up(fault or self._patience.changed_by_the_step(changed))
            return result
        try:
            self._check_dtypes(recording)
            self._replays.insert(0, Replay(recording, self._make_program(recording)))
        except Exception as e:  # The step has run, and its results are good, whatever is wrong here.
            self._give_up(_text(e))
            return result
        self._captured = captured or None
        self._trusted.difference_update(self._replays[_MOST_PROGRAMS:])
        del self._replays[_MOST_PROGRAMS:]
        return result

    def _give_up(self, report: str) -> None:
        """Drop the programs; if there is something to report, leave everything to the step from now on."""
        self.report = report
        self._captured = None
        self._replays.clear()
        self._trusted.clear()

    def _check_dtypes(self, recording: Recording) -> None:
        """Raise a `NotReplayableError` for floats of which it is not known how far off they may be."""
        dtypes = {value.array.dtype for value in recording.values}
        others = {str(d) for d in dtypes if self._xp.isdtype(d, "real floating")} - _TOLERANCE.keys()
        if others:
            raise NotReplayableError(
                f"the step has arrays of {', '.join(sorted(others))}, and can be replayed with "
                f"{' and '.join(_TOLERANCE)} alone"
            )

    def _try(self, replay: Replay, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Do what the step does, and see whether the program does the same with copies."""
        changed = [replay.changes(i) for i in range(len(values))]
        compared = [self._is_compared(*pair) for pair in zip(values, changed, strict=True)]
        kept = [i for i, compare in enumerate(compared) if compare and not changed[i]]
        before = [self._on_host(value) if c else None for value, c in zip(values, compared, strict=True)]
        try:
            # Copies of all that may change: what is believed to stay as it is may not.
            copies = [self._copy(v) if c else v for v, c in zip(values, compared, strict=True)]
            found, starts = self._carried_out(replay, copies, before)
            same = self._are_as_before(copies, before, kept)
        except Exception as e:  # On copies: the step itself can still be taken.
            self._give_up(_text(e))
            return self._step(*args, **kwargs)
        with replaced(self._xp, self._functions or self._xp.nn):
            result = self._step(*args, **kwargs)
        expected = [self._on_host(leaf) for leaf in leaves(result)]
        same = same and all(map(_is_near, found, expected, starts))
        if self._captured is not None and (attribute := self._captured.change()):
            self._give_up(self._patience.changed_by_the_step(attribute))
        elif same and self._are_as_before(values, before, kept):
            self._trusted.add(replay)
        else:
            self._give_up(_OTHER_RESULTS)
        return result

    def _carried_out(
        self, replay: Replay, copies: list[Any], before: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Return what a program makes of copies, on the host, and what each result was before, if known."""
        values = [*copies]  # A program may put other arrays in their places.
        replay.run(values, [*range(len(values))])
        results = leaves(replay.result())
        found = [self._on_host(leaf) for leaf in results]
        replay.forget()
        given = {id(value): start for value, start in zip(values, before, strict=True)}
        return found, [given.get(id(leaf)) for leaf in results]

    def _copy(self, value: Any) -> Any:
        return self._xp.asarray(value, copy=True)

    def _on_host(self, leaf: Any) -> Any:
        """Return a copy of an array on the host, and all else as it is."""
        return numpy.array(self._xp.to_host(leaf)) if is_array(leaf) else leaf

    def _is_compared(self, value: Any, changed: bool) -> bool:
        """Return whether a leaf is what a step might change: floats, but not the images of a data set."""
        if not is_array(value):
            return False
        return changed or (self._xp.isdtype(value.dtype, "real floating") and value.size < _DATA_SET)

    def _are_as_before(self, values: list[Any], before: list[Any], places: list[int]) -> bool:
        """Return whether the arrays at these places hold what they held."""
        return all(numpy.array_equal(self._xp.to_host(values[i]), before[i], equal_nan=True) for i in places)


def _compiled(xp: Any, step: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = xp.compile(step)
    return compiled


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


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, NotReplayableError) else f"{type(error).__name__}: {error}"


def _largest(x: Array) -> float:
    return float(numpy.max(numpy.abs(x), initial=0.0))
