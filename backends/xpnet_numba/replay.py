"""The programs of recorded steps, bound to the arrays at hand: what `xp.compile` carries out."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from xpnet.replay.stages import Operation, Plan
from xpnet.replay.trace import Trace, Value
from xpnet_numba import forks, layout, machine_code
from xpnet_numba.program import BLOCKS, make_plan
from xpnet_numba.team import LINE, PARTS, Placed, Team, address, aligned

Array = Any

_teams: dict[Any, Team] = {}


def _team(dtype: Any) -> Team:
    """Return the team that all programs of a dtype share."""
    with forks.compiling:
        if dtype not in _teams:
            _teams[dtype] = Team(dtype)
        return _teams[dtype]


def compress(images: Array, blocks: int = BLOCKS) -> tuple[Array, Array]:
    """Return `starts` and `entries` of images that are stored row by row: see `kernels.products.compress`."""
    starts = numpy.empty(len(images) * blocks + 1, numpy.int64)
    entries = numpy.empty(numpy.count_nonzero(images) + 1, numpy.uint32)
    fill = machine_code.function("compress", images.dtype, 6)
    fill(address(images), *images.shape, blocks, address(starts), address(entries))
    return starts, entries


class CompressedImages:
    """The compressed form of the images that a step was given last."""

    def __init__(self) -> None:
        self._images: Array = None
        self._arrays: tuple[Array, Array] = ()  # type: ignore[assignment]

    def of(self, images: Array) -> tuple[Array, Array]:
        """Return what `compress` makes of images."""
        if images is not self._images:
            self._images, self._arrays = images, compress(images)
        return self._arrays


class NumbaProgram:
    """A traced step on other arrays of the same shapes, see `xpnet.replay.program.Program`.

    Parameters
    ----------
    trace : Trace
    images : CompressedImages
    """

    def __init__(self, trace: Trace, images: CompressedImages) -> None:
        plan = make_plan(trace)
        self._images = images
        self._compressed = plan.compressed
        self._number = plan.number
        self._is_changed = plan.changed
        self.changed = {value for value in trace.values if plan.number[value] in plan.changed}
        self._given = {leaf: plan.number[value] for leaf, value in trace.given.items()}
        self._fresh = [
            (i, plan.slots[i].shape, plan.slots[i].dtype)
            for i in (plan.number[value] for value in trace.returned)
            if plan.slots[i].argument is None
        ]
        self._arrays = [
            aligned(slot.shape if slot.argument is None else (0,), slot.dtype) for slot in plan.slots
        ]
        self._slots = numpy.array([address(array) for array in self._arrays], numpy.int64)
        self._operations, self._numbers = _tables(plan)
        self._counted = [
            (self._numbers[plan.operations.index(operation)], running, numbers)
            for operation, running, numbers in plan.counted
        ]
        self._kept: list[Array] = []  # what the programs know by address
        self._segments = [self._segment(stages, host) for stages, host in _segments(plan)]
        self._helped = not plan.by_host
        self._team = _team(numpy.dtype(plan.dtype or "float32"))

    def _segment(self, stages: Array, host: Operation | None) -> tuple[Placed | None, Operation | None]:
        """Return stages as a program for `kernels.interpreter.work`, with what the host does after it."""
        if not len(stages):
            return None, host
        self._kept.append(stages)
        program = numpy.zeros(layout.PROGRAM_WIDTH, numpy.int64)
        program[layout.OPERATIONS] = address(self._operations)
        program[layout.NUMBER_ROWS] = address(self._numbers)
        program[layout.NUMBERS_WIDTH] = self._numbers.strides[0]
        program[layout.SLOTS] = address(self._slots)
        program[layout.STAGES] = address(stages)
        program[layout.COUNT] = len(stages)
        return Placed.of(program), host

    def getter(self, value: Value) -> Callable[[], Array]:
        """See `xpnet.replay.program.Program`."""
        return functools.partial(operator.getitem, self._arrays, self._number[value])

    def forget(self) -> None:
        """See `xpnet.replay.program.Program`."""
        for slot in self._given.values():
            self._arrays[slot] = None

    def _bind(self, slot: int, array: Array) -> Array:
        """Let a slot stand for an array, or for a copy of it, and return which."""
        if slot in self._is_changed and (address(array) % LINE or not array.flags.writeable):
            # An optimizer need not return the arrays that it was given; its users take those returned.
            given, array = array, aligned(array.shape, array.dtype)
            array[...] = given
        begin = address(array)
        if begin % array.itemsize:  # Compiled code reads whole numbers of them.
            array = array.copy()
            begin = address(array)
        self._arrays[slot] = array
        self._slots[slot] = begin
        if slot in self._compressed:
            for place, found in zip(self._compressed[slot], self._images.of(array), strict=True):
                self._bind(place, found)
        return array

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """See `xpnet.replay.program.Program`."""
        for leaf in moved:
            leaves[leaf] = self._bind(self._given[leaf], numpy.asarray(leaves[leaf]))
        for i, shape, dtype in self._fresh:
            self._bind(i, numpy.empty(shape, dtype))
        for row, running, numbers in self._counted:
            found = numbers(running.of(leaves))
            row[: len(found)] = found
        for program, operation in self._segments:
            if program is not None:
                self._team.carry_out(program, helped=self._helped)
            if operation is not None and operation.host is not None:
                operation.host(*[self._arrays[i] for i in operation.operands])


def _tables(plan: Plan) -> tuple[Array, Array]:
    """Return the operations as the interpreter reads them: whole numbers, and floating-point ones."""
    dtype = numpy.dtype(plan.dtype or "float32")
    rows = numpy.zeros((len(plan.operations), layout.WIDTH), numpy.int64)
    numbers = numpy.zeros((len(plan.operations), layout.NUMBERS), dtype)
    for row, own, operation in zip(rows, numbers, plan.operations, strict=True):
        if operation.kernel is not None:
            row[layout.FUNCTION] = machine_code.address(operation.kernel, dtype)
            row[layout.LENGTH] = operation.length
            operands, sizes = numpy.split(row[layout.DETAILS :], [layout.OPERANDS])
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
            yield numpy.array(stages, numpy.int64).reshape(-1, layout.STAGE_WIDTH), operation
            stages = []
    yield numpy.array(stages, numpy.int64).reshape(-1, layout.STAGE_WIDTH), None
