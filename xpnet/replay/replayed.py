"""`xp.compile`: a step is traced once for each set of shapes; from then on its program is carried out.

A backend makes the programs, and `Replayed` decides when to trust them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy

from xpnet.compiled import Bound
from xpnet.errors import shortened
from xpnet.folding import Rows, fold, items_of, length_of, next_carry, row_of, rows_from
from xpnet.namespace import Namespace
from xpnet.replay.captured import Captured, Patience
from xpnet.replay.lines import running_line
from xpnet.replay.nearness import TOLERANCE
from xpnet.replay.program import Loop, Program, Replay
from xpnet.replay.trace import NotReplayableError, Trace, UnknownArrayError, Value
from xpnet.replay.tracing import Check, fault_of, trace
from xpnet.replay.tree import leaves
from xpnet.replay.trial import Trial

Array = Any

# Each keeps arrays for what is between arguments and results; the least recently used one makes room.
_MOST_PROGRAMS = 8
# To record and to try takes as long as some ten steps that are replayed save.
_FEW_RUNS = 16
# So many programs in a row made room before they ran as often: then no more do.
_MOST_IN_VAIN = 16
_OTHER_RESULTS = (
    "replayed, the step gives other results than as it is: it may change arrays by other means than `xp.nn`, "
    "or compute with values that it reads"
)

# Small numbers that underflow are as good as 0. Entered once for a call, a fold or a scan.
_SILENT = numpy.errstate(under="ignore")

_ONLY_SUCH_CALLS = "only such calls run as they are written"
_SHARED_ROWS = "the rows of a scan share memory with an array that the step changes"
_TOO_MANY_SHAPES = (
    "the shapes of the arguments change too often to record each of them: "
    f"{_MOST_PROGRAMS} sets of shapes are replayed; calls with others run as they are written"
)
# How often, for 10 ms, a thread waits for a program that another thread runs.
_MOST_WAITS = 1000

_steps: weakref.WeakSet[Replayed] = weakref.WeakSet()


class Replayed:
    """A step that is replayed where that is possible.

    The first call with new shapes is traced. In the second one the program is tried on copies beside the
    step, and from the third one on it takes the step's place.

    Threads may call it at once: one waits while another runs a program. While another one traces, tries,
    folds or scans, which runs Python that may wait for this thread, the step runs as it is written.

    Parameters
    ----------
    step : Bound
    make_program : callable
        Takes a `Trace` and returns its `Program`, or raises `NotReplayableError`.
    plain : Namespace, optional
        On which the step runs while it is traced and tried, if not on its own.
    reason : str, optional
        Why it is never replayed, if that is known.
    takes_all : bool
        Whether programs can carry out calls of the library's own functions. Then a step that does more with
        arrays than to call `xp.nn` is traced as a whole, in its second call.

    Attributes
    ----------
    report : str
        The last reason why a call was not replayed, or why it is replayed in a slower way than the backend
        has; empty if there was none. Reasons that lie in the arguments of a call hold for such calls only;
        others are still replayed.
    check : callable or None
        See `tracing.trace`.
    """

    def __init__(
        self,
        step: Bound,
        make_program: Callable[[Trace], Program],
        *,
        plain: Namespace | None = None,
        reason: str = "",
        takes_all: bool = False,
    ) -> None:
        self.report = reason
        self.check: Check | None = None
        self.__wrapped__ = step
        self._as_written = step
        self._step = step.step
        self._xp = step.xp
        self._make_program = make_program
        self._plain = plain or self._xp
        self._may_be_whole = takes_all
        self._whole = False  # whether all that the step does with arrays is recorded, see `trace`
        self._replays: list[Replay] = []
        self._trusted: dict[Replay, int] = {}  # and how often each has run
        self._refused: set[Replay] = set()  # for calls that run as they are written
        self._last: Replay | None = None  # what did the last call, if one did
        self._captured: Captured | None = None  # as it was at the recordings; None if it cannot change
        self._patience = Patience()
        self._ended = bool(reason)
        self._in_vain = 0  # programs in a row that made room before they were worth it
        self._running = threading.Lock()
        self._thread = 0  # which runs Python of a user's while it holds the lock
        _steps.add(self)

    @property
    def programs(self) -> list[Program]:
        """The programs, the last used first."""
        return [replay.program for replay in self._replays if replay not in self._refused]

    @_SILENT
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        # Another thread may be in the midst of a program, whose arrays are there once.
        if not self._running.acquire(blocking=False) and not self._wait():
            return self._as_written(*args, **kwargs)
        try:
            return self._call(*args, **kwargs)
        finally:
            self._running.release()

    @_SILENT
    def fold(self, carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
        """See `xpnet.Namespace.fold`."""
        if not self._running.acquire(blocking=False) and not self._wait():
            return fold(self._as_written, carry, items)
        try:
            return self._with_python(self._fold, carry, items)  # `items` may be a generator.
        finally:
            self._running.release()

    @_SILENT
    def scan(self, carry: tuple[Any, ...], rows: Rows, constants: tuple[Any, ...]) -> Any:
        """See `xpnet.Namespace.scan`."""
        if not self._running.acquire(blocking=False) and not self._wait():
            return fold(self._as_written, carry, items_of(rows, constants))
        try:
            return self._with_python(self._scan, carry, rows, constants)
        finally:
            self._running.release()

    def _wait(self) -> bool:
        """Wait while another thread runs a program; return False if it runs Python, which may wait for us."""
        for _ in range(_MOST_WAITS):
            if self._thread:
                return False
            if self._running.acquire(timeout=0.01):
                return True
        return False

    def leave_other_threads(self) -> None:
        """Be free, after a fork, of a thread of the parent process that used this."""
        if self._running.locked() and self._thread != threading.get_ident():
            self._running = threading.Lock()
            self._thread = 0
            self._drop_programs()  # One may be half done.

    def _fold(self, carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
        replay: Replay | None = None  # whose last results are the carry
        captured: Captured | None = None
        runs = 0
        for item in items:
            if replay is not None:
                if (captured is None or not captured.change()) and replay.follow(item):
                    runs += 1
                    continue
                carry = replay.result()
            carry = next_carry(self._call, carry, item)
            if self._last is not replay:
                self._count(replay, runs)
                runs = 0
            replay, captured = self._last, self._captured
            if replay is not None:
                carry = ()  # The replay owns it from here on.
        self._count(replay, runs)
        return carry if replay is None else replay.result()

    def _scan(self, carry: tuple[Any, ...], rows: Rows, constants: tuple[Any, ...]) -> Any:
        """Take the first steps as calls, until a program is trusted with them; it takes all others."""
        for begin in range(length_of(rows)):
            if self._captured is not None:
                self._look_for_changes(self._captured)
            item = row_of(rows, begin), *constants
            values = leaves(((*carry, *item), {}))
            replay, moved = (None, []) if self._ended else self._found(values)
            if replay in self._trusted and replay.returns(len(carry)):
                return self._scan_by(replay, values, moved, carry, rows_from(rows, begin), constants)
            carry = next_carry(self._call, carry, item)
        return carry

    def _scan_by(
        self,
        replay: Replay,
        values: list[Any],
        moved: list[int],
        carry: tuple[Any, ...],
        rows: Rows,
        constants: tuple[Any, ...],
    ) -> Any:
        """Take all steps, given the leaves of the first one, which fit a program."""
        place, steps = 1 + len(leaves(carry)), length_of(rows)
        by_place = dict(enumerate(rows, place + 1)) if type(rows) is tuple else {place: rows}
        if replay.shares(values, by_place):
            self.report = f"{_SHARED_ROWS}; {_ONLY_SUCH_CALLS}"
            return fold(self._as_written, carry, items_of(rows, constants))
        if not replay.scan(values, moved, steps, by_place):
            return self._fold(carry, items_of(rows, constants))
        self._count(replay, steps)
        self._patience.reward()
        return replay.result()

    def _count(self, replay: Replay | None, runs: int) -> None:
        if replay in self._trusted:
            self._trusted[replay] += runs

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        self._last = None
        if self._captured is not None:
            self._look_for_changes(self._captured)
        if self._ended:
            return self._with_python(self._as_written, *args, **kwargs)
        values = leaves((args, kwargs))
        replay, moved = self._found(values)
        if replay not in self._trusted:
            return self._watch(replay, values, args, kwargs)
        replay.run(values, moved)
        self._last = replay
        self._trusted[replay] += 1
        self._patience.reward()
        return replay.result()

    def _found(self, values: list[Any]) -> tuple[Any, list[int]]:
        """Return the replay that these leaves fit, which is then the last used, and which of them moved."""
        for i, replay in enumerate(self._replays):
            moved = replay.moved(values)
            if moved is not None:
                if i > 0:
                    self._replays.insert(0, self._replays.pop(i))
                return replay, moved
        return None, []

    def _look_for_changes(self, captured: Captured) -> None:
        """Drop the programs if something has changed that the step reaches."""
        if changed := captured.change():
            self._give_up(self._patience.changed(changed))

    def _watch(self, replay: Replay | None, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Trace or try the step, unless calls like this one run as they are written."""
        if not self._may_record(values) if replay is None else replay in self._refused:
            return self._with_python(self._as_written, *args, **kwargs)
        if replay is None:
            if self._whole:
                return self._with_python(self._record_whole, values, args, kwargs)
            return self._with_python(self._record, args, kwargs)
        return self._with_python(self._try, replay, values, args, kwargs)

    def _with_python(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call what runs Python of a user's, for which no other thread waits."""
        before, self._thread = self._thread, threading.get_ident()
        try:
            return function(*args, **kwargs)
        finally:
            self._thread = before

    def _may_record(self, values: list[Any]) -> bool:
        """Return whether to record a call with these leaves; if not, say why in the report."""
        if self._in_vain >= _MOST_IN_VAIN and len(self._replays) >= _MOST_PROGRAMS:
            self.report = _TOO_MANY_SHAPES
            return False
        if fault := fault_of(values):
            self.report = f"{fault}; {_ONLY_SUCH_CALLS}"
        return not fault

    def _record(self, args: Any, kwargs: Any) -> Any:
        captured = Captured(self._xp, self._step)
        try:
            result, traced = trace(self._xp, self._step, args, kwargs, plain=self._plain, check=self.check)
        except NotReplayableError as e:
            reason, result = e.args
            # Another trace calls the step once more, so it must not change what it reaches.
            if captured.fault() or not isinstance(e, UnknownArrayError) or captured.change():
                self._give_up(captured.fault() or reason)
            else:
                self._give_up_or_look_again(reason)
            return result
        if self._accepts(captured):
            self._add(traced)
        return result

    def _record_whole(self, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Do what the step does, after it was traced as a whole and its program was tried on copies."""
        captured = Captured(self._xp, self._step)
        replay = None
        try:
            traced = trace(
                self._xp, self._step, args, kwargs, plain=self._plain, check=self.check, whole=True
            )[1]
        except Exception as e:
            result = self._as_written(*args, **kwargs)  # This may raise as well, because of what it is given.
            self._give_up(captured.fault() or _reason_of(e))
            return result
        if self._accepts(captured):
            replay = self._add(traced)
        if replay is None or replay in self._refused:
            return self._as_written(*args, **kwargs)
        return self._try(replay, values, args, kwargs)

    def _accepts(self, captured: Captured) -> bool:
        """Return whether a trace may be used, given what the step reached before; if not, give it up."""
        fault, changed = captured.fault(), captured.change()
        if fault or changed:
            self._give_up(fault or self._patience.changed_by_the_step(changed))
            return False
        self._captured = captured or None
        return True

    def _add(self, traced: Trace) -> Replay:
        """Make a program of a trace; the one that was used least recently makes room."""
        try:
            self._check_dtypes(traced)
            replay = Replay(traced, self._make_program(traced))
        except Exception as e:  # The step has run, and its results are good, whatever is wrong here.
            replay = Replay(traced, _NoProgram())
            self._refuse(replay, e)
        self._replays.insert(0, replay)
        for dropped in self._replays[_MOST_PROGRAMS:]:
            is_worth_it = self._trusted.pop(dropped, 0) >= _FEW_RUNS
            self._in_vain = 0 if is_worth_it else self._in_vain + 1
            self._refused.discard(dropped)
        del self._replays[_MOST_PROGRAMS:]
        return replay

    def _refuse(self, replay: Replay, error: Exception) -> None:
        """Leave calls of these shapes to the step from now on."""
        self.report = _text(error)
        self._refused.add(replay)

    def _give_up(self, report: str) -> None:
        """Drop the programs; if there is something to report, leave everything to the step from now on."""
        self.report = report
        self._ended = bool(report)
        self._drop_programs()

    def _give_up_or_look_again(self, report: str) -> None:
        """Drop the programs; the next call is traced as a whole, or all is left to the step."""
        again = self._may_be_whole and not self._whole
        self._whole = again or self._whole
        self._give_up("" if again else report)

    def _drop_programs(self) -> None:
        self._captured = None
        self._last = None
        self._replays.clear()
        self._trusted.clear()
        self._refused.clear()

    def _check_dtypes(self, traced: Trace) -> None:
        """Raise a `NotReplayableError` for floats of which it is not known how far off they may be."""
        dtypes = {value.dtype for value in traced.values}
        others = {str(d) for d in dtypes if self._xp.isdtype(d, "real floating")} - TOLERANCE.keys()
        if others:
            raise NotReplayableError(
                f"the step has arrays of {', '.join(sorted(others))}, and can be replayed with "
                f"{' and '.join(TOLERANCE)} only"
            )

    def _try(self, replay: Replay, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Do what the step does, and see whether the program does the same with copies."""
        try:
            trial = Trial(self._xp, replay, values)
        except Exception as e:  # On copies: the step itself can still be taken.
            result = self._as_written(*args, **kwargs)
            self._refuse(replay, e)  # Unless the step raises as well, because of what it is given.
            return result
        result = self._step(self._plain, *args, **kwargs)
        if self._captured is not None and (attribute := self._captured.change()):
            self._give_up(self._patience.changed_by_the_step(attribute))
        elif trial.confirms(result):
            self._trusted[replay] = 0
            # A program may have something to say although it replaces the step.
            self.report = getattr(replay.program, "note", "") or self.report
        else:
            self._give_up_or_look_again(_OTHER_RESULTS)
        return result


class _NoProgram:
    """What stands in the place of a program for calls that run as they are written."""

    changed: Collection[Value] = ()

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        raise NotImplementedError

    def scan(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        raise NotImplementedError

    def getter(self, value: Value) -> Callable[[], Array]:
        return lambda: None

    def forget(self) -> None:
        raise NotImplementedError


def _leave_other_threads() -> None:
    for step in [*_steps]:
        step.leave_other_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_other_threads)


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, NotReplayableError) else f"{type(error).__name__}: {error}"


def _reason_of(error: Exception) -> str:
    """Return why a step that raised this cannot be traced as a whole."""
    if isinstance(error, NotReplayableError):
        return str(error.args[0])
    found = f"{type(error).__name__}: {error}"
    return f"{running_line(error)} cannot be recorded: {shortened(found, 150)}"
