"""`xp.compile`: a step is recorded once for each set of shapes; from then on its program is carried out."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import threadpoolctl

from xpnet_numba import interpreter
from xpnet_numba.compiled import PARTS
from xpnet_numba.operations import NUMBERS, OPERANDS
from xpnet_numba.products import compress
from xpnet_numba.program import BLOCKS, plan
from xpnet_numba.recording import (
    Counter,
    NotReplayableError,
    Recording,
    Reference,
    leaves,
    record,
)
from xpnet_numba.stages import Operation, Plan, Slot
from xpnet_numba.team import LINE, Team, aligned

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

# Held while a step is recorded or tried: that changes `xp.nn` and the BLAS for all threads.
_watching = threading.Lock()
_teams: dict[Any, Team] = {}
_NOTHING = object()


class Replayed:
    """A step that is replayed where that is possible.

    The first call with new shapes is recorded. In the second one the program is tried on copies beside the
    step, and from the third one on it takes the step's place.

    Parameters
    ----------
    xp : Namespace
    step : callable

    Attributes
    ----------
    report : str
        Why it cannot be replayed; empty while it can.
    """

    def __init__(self, xp: Any, step: Callable[..., Any]) -> None:
        self.report = ""
        self._xp = xp
        self._step = step
        self._programs: list[Program] = []
        self._images = _CompressedImages()
        self._running = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        # Another thread may be in the midst of a program, whose arrays are there once.
        if self.report or not self._running.acquire(blocking=False):
            return self._step(*args, **kwargs)
        try:
            values = leaves((args, kwargs))
            for i, program in enumerate(self._programs):
                if program.fits(values):
                    if i > 0:
                        self._programs.insert(0, self._programs.pop(i))
                    if program.trusted:
                        return program(values)
                    break
            else:
                program = None
            return self._watch(program, values, args, kwargs)
        finally:
            self._running.release()

    def _watch(self, program: Program | None, values: list[Any], args: Any, kwargs: Any) -> Any:
        if not _watching.acquire(blocking=False):
            return self._step(*args, **kwargs)
        try:
            # For 0.1 s after a product a BLAS's other threads spin, on the processors that programs need.
            with threadpoolctl.threadpool_limits(1):
                if program is None:
                    return self._record(args, kwargs)
                return self._try(program, values, args, kwargs)
        finally:
            _watching.release()

    def _record(self, args: Any, kwargs: Any) -> Any:
        try:
            result, recording = record(self._xp, self._step, args, kwargs)
        except NotReplayableError as e:
            self.report, result = e.args
            return result
        try:
            self._programs.insert(0, Program(recording, plan(recording), self._images))
        except Exception as e:  # The step has run, and its results are good, whatever is wrong here.
            self.report = str(e) if isinstance(e, NotReplayableError) else f"{type(e).__name__}: {e}"
        del self._programs[_MOST_PROGRAMS:]
        return result

    def _try(self, program: Program, values: list[Any], args: Any, kwargs: Any) -> Any:
        """Do what the step does, and see whether the program does the same with copies."""
        changed = [program.changes(i) for i in range(len(values))]
        replayed = leaves(program([numpy.array(v) if c else v for v, c in zip(values, changed, strict=True)]))
        program.forget()
        before = [numpy.array(value) if _is_float(value) else value for value in values]
        result = self._step(*args, **kwargs)
        starts = [None if place is None else before[place] for place in program.origins]
        same = all(map(_is_near, replayed, leaves(result), starts))
        kept = [i for i, value in enumerate(values) if _is_float(value) and not changed[i]]
        program.trusted = same and all(numpy.array_equal(values[i], before[i], equal_nan=True) for i in kept)
        if not program.trusted:
            self.report = _OTHER_RESULTS
        return result


class _CompressedImages:
    """The compressed form of the images that a step was given last."""

    def __init__(self) -> None:
        self._images: Array = None
        self._arrays: tuple[Array, Array] = ()  # type: ignore[assignment]

    def of(self, images: Array) -> tuple[Array, Array]:
        """Return `starts` and `entries` of images, see `products.compress`."""
        if images is not self._images:
            starts = numpy.empty(len(images) * BLOCKS + 1, numpy.int64)
            entries = numpy.empty(numpy.count_nonzero(images) + 1, numpy.uint32)
            compress(images, BLOCKS, starts, entries)
            self._images, self._arrays = images, (starts, entries)
        return self._arrays


class Program:
    """A recorded step, ready to be carried out on other arrays of the same shapes.

    Parameters
    ----------
    recording : Recording
    plan : Plan
    images : _CompressedImages

    Attributes
    ----------
    trusted : bool
        Whether it was seen to do what the step does; False at first.
    origins : list of int or None
        For each leaf of the result, which leaf of the arguments it is, changed or not.
    """

    def __init__(self, recording: Recording, plan: Plan, images: _CompressedImages) -> None:
        self.trusted = False
        self._images = images
        self._compressed = plan.compressed
        self._changed = plan.changed
        self._arguments = {slot.argument: i for i, slot in enumerate(plan.slots) if slot.argument is not None}
        self._kinds = [
            plan.slots[self._arguments[place]] if place in self._arguments else leaf
            for place, leaf in enumerate(recording.leaves)
        ]
        self._bound: list[Any] = [_NOTHING] * len(self._kinds)
        self._fresh = [
            (i, plan.slots[i].shape, plan.slots[i].dtype)
            for i in {r for r in leaves(recording.result) if isinstance(r, Reference)}
            if plan.slots[i].argument is None
        ]
        self._arrays = [
            aligned(slot.shape if slot.argument is None else (0,), slot.dtype) for slot in plan.slots
        ]
        self._make_result = self._maker(recording.result)
        self.origins = [
            plan.slots[leaf].argument if type(leaf) is Reference else None
            for leaf in leaves(recording.result)
        ]
        self._slots = numpy.array([_address(array) for array in self._arrays], numpy.int64)
        self._operations, self._numbers = _tables(plan)
        self._counted = [
            (self._numbers[plan.operations.index(operation)], counter, numbers)
            for operation, counter, numbers in plan.counted
        ]
        self._kept: list[Array] = []  # what the programs know by address
        self._segments = [self._segment(stages, host) for stages, host in _segments(plan)]
        self._helped = not plan.by_host
        dtype = numpy.dtype(plan.dtype or "float32")
        self._team = _teams.setdefault(dtype, Team(dtype))

    def _segment(self, stages: Array, host: Operation | None) -> tuple[Array | None, Operation | None]:
        """Return stages as a program for `interpreter.work`, with what the host does after it."""
        if not len(stages):
            return None, host
        self._kept.append(stages)
        program = numpy.zeros(interpreter.PROGRAM_WIDTH, numpy.int64)
        program[interpreter.OPERATIONS] = _address(self._operations)
        program[interpreter.NUMBERS] = _address(self._numbers)
        program[interpreter.NUMBERS_WIDTH] = self._numbers.strides[0]
        program[interpreter.SLOTS] = _address(self._slots)
        program[interpreter.STAGES] = _address(stages)
        program[interpreter.COUNT] = len(stages)
        return program, host

    def fits(self, values: list[Any]) -> bool:
        """Return whether these leaves have the form, the shapes and the dtypes of the recorded ones."""
        kinds, bound = self._kinds, self._bound
        if len(values) != len(kinds):
            return False
        arrays = {id(values[i]) for i in self._arguments}
        if len(arrays) < len(self._arguments):
            return False
        for i, value in enumerate(values):
            if value is bound[i]:
                continue
            kind = kinds[i]
            if type(kind) is Slot:
                if not (
                    isinstance(value, numpy.ndarray | numpy.generic)
                    and value.shape == kind.shape
                    and value.dtype == kind.dtype
                    and value.flags.c_contiguous
                ):
                    return False
            elif type(value) is not type(kind) or (type(kind) is not int and value != kind):
                return False
        return True

    def forget(self) -> None:
        """Let go of the arguments."""
        self._bound[:] = [_NOTHING] * len(self._bound)

    def changes(self, place: int) -> bool:
        """Return whether the leaf at a place among the arguments is an array that is changed."""
        return self._arguments.get(place) in self._changed

    def _bind(self, slot: int, array: Array) -> Array:
        """Let a slot stand for an array, or for a copy of it, and return which."""
        if slot in self._changed and (_address(array) % LINE or not array.flags.writeable):
            # An optimizer need not return the arrays that it was given; its users take those returned.
            given, array = array, aligned(array.shape, array.dtype)
            array[...] = given
        self._arrays[slot] = array
        self._slots[slot] = _address(array)
        if slot in self._compressed:
            for place, found in zip(self._compressed[slot], self._images.of(array), strict=True):
                self._bind(place, found)
        return array

    def __call__(self, values: list[Any]) -> Any:
        """Carry the program out on leaves that fit, and return what the step returns."""
        bound = self._bound
        for i, value in enumerate(values):
            if value is not bound[i]:
                slot = self._arguments.get(i)
                bound[i] = value if slot is None else self._bind(slot, numpy.asarray(value))
        for i, shape, dtype in self._fresh:
            self._bind(i, numpy.empty(shape, dtype))
        for row, counter, numbers in self._counted:
            found = numbers(self._bound[counter.argument] + counter.added)
            row[: len(found)] = found
        for program, operation in self._segments:
            if program is not None:
                self._team.carry_out(program, helped=self._helped)
            if operation is not None and operation.host is not None:
                operation.host(*[self._arrays[i] for i in operation.operands])
        return self._make_result()

    def _maker(self, tree: Tree) -> Callable[[], Any]:
        """Return a function that makes what the step returns, whose form is `tree`."""
        if type(tree) is dict:
            items = [(key, self._maker(item)) for key, item in tree.items()]
            return lambda: {key: make() for key, make in items}
        if type(tree) is tuple or type(tree) is list:
            kind, makers = type(tree), [self._maker(item) for item in tree]
            return lambda: kind([make() for make in makers])
        if type(tree) is Reference:
            return functools.partial(self._arrays.__getitem__, int(tree))
        if type(tree) is Counter:
            return lambda: self._bound[tree.argument] + tree.added
        return lambda: tree


def _is_float(value: Any) -> bool:
    """Return whether a leaf is what a step might change: floats, but not the images of a whole data set."""
    return isinstance(value, numpy.ndarray) and value.dtype.kind == "f" and value.size < _DATA_SET


def _is_near(found: Any, expected: Any, start: Any) -> bool:
    """Return whether leaves of two results are equal to rounding, `start` being what the step began with."""
    if not isinstance(expected, numpy.ndarray | numpy.generic):
        return type(found) is type(expected) and found == expected
    if expected.dtype.kind != "f":
        return numpy.array_equal(found, expected)
    found, expected = numpy.asarray(found), numpy.asarray(expected)
    finite = numpy.isfinite(expected)
    if not numpy.array_equal(numpy.isfinite(found), finite):
        return False
    values = expected[finite]
    changes = values if start is None else values - numpy.asarray(start)[finite]
    tolerance = _TOLERANCE[expected.dtype.name] * _largest(changes)
    rounding = 16 * numpy.finfo(expected.dtype).eps * _largest(values)
    return bool(_largest(found[finite] - values) <= tolerance + rounding)


def _largest(x: Array) -> float:
    return float(numpy.max(numpy.abs(x), initial=0.0))


def _address(array: Array) -> int:
    return array.__array_interface__["data"][0]


def _tables(plan: Plan) -> tuple[Array, Array]:
    """Return the operations as the interpreter reads them: whole numbers, and floating-point ones."""
    dtype = numpy.dtype(plan.dtype or "float32")
    rows = numpy.zeros((len(plan.operations), interpreter.WIDTH), numpy.int64)
    numbers = numpy.zeros((len(plan.operations), NUMBERS), dtype)
    for row, own, operation in zip(rows, numbers, plan.operations, strict=True):
        if operation.kernel is not None:
            row[interpreter.FUNCTION] = operation.kernel.address(dtype)
            row[interpreter.LENGTH] = operation.length
            operands, sizes = numpy.split(row[interpreter.DETAILS :], [OPERANDS])
            operands[: len(operation.operands)] = operation.operands
            sizes[: len(operation.sizes)] = operation.sizes
            own[: len(operation.numbers)] = operation.numbers
    return rows, numbers


def _segments(plan: Plan) -> Iterator[tuple[Array, Operation | None]]:
    """Yield stages that follow each other, as the interpreter reads them, and what the host does then."""
    stages: list[tuple[int, int, int]] = []
    end = 0
    for (_, by_host), group in itertools.groupby(plan.operations, lambda o: (o.stage, o.host is not None)):
        members = list(group)
        first, end = end, end + len(members)
        if not by_host:
            alone = plan.by_host or not any(operation.length for operation in members)
            stages.append((first, end, 1 if alone else PARTS))
            continue
        for operation in members:
            yield numpy.array(stages, numpy.int64).reshape(-1, interpreter.STAGE_WIDTH), operation
            stages = []
    yield numpy.array(stages, numpy.int64).reshape(-1, interpreter.STAGE_WIDTH), None
