"""`xp.compile`: the operations of a traced step, bound to the arrays at hand and carried out by a team."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy

from xpnet.pace import Pace
from xpnet.replay.lower import lower
from xpnet.replay.program import Loop, scan_by_runs
from xpnet.replay.stages import Operation, in_stages
from xpnet.replay.trace import Trace, Value
from xpnet_numba import forks, layout, machine_code
from xpnet_numba.changes import Changes
from xpnet_numba.counted import Count
from xpnet_numba.images import CompressedImages
from xpnet_numba.lowering import Rules
from xpnet_numba.team import LINE, PARTS, Placed, Team, address, aligned

Array = Any

_UNWATCHED = 0.02
"""Seconds that a scan runs, at most, before Python looks at signals."""

_teams: dict[Any, Team] = {}


def _team(dtype: Any) -> Team:
    """Return the team that all programs of a dtype share."""
    with forks.compiling:
        if dtype not in _teams:
            _teams[dtype] = Team(dtype)
        return _teams[dtype]


class NumbaProgram:
    """A traced step on other arrays of the same shapes, see `xpnet.replay.program.Program`.

    Parameters
    ----------
    trace : Trace
    images : CompressedImages
    """

    def __init__(self, trace: Trace, images: CompressedImages) -> None:
        rules = Rules(trace)
        operations = in_stages(lower(trace, rules.table, rules.others))
        used = itertools.chain(*(operation.operands for operation in operations))
        values = dict.fromkeys(itertools.chain(trace.arguments, *rules.compressed.values(), used))
        self.changed = trace.changed
        self._images = images
        self._slots = {value: i for i, value in enumerate(values)}
        self._given = {leaf: self._slots[value] for leaf, value in trace.given.items()}
        self._changed = {self._slots[value] for value in trace.changed}
        self._compressed = {
            self._slots[value]: [self._slots[v] for v in form] for value, form in rules.compressed.items()
        }
        self._parts: dict[int, list[tuple[int, slice, tuple[int, ...]]]] = {}
        for value, place in rules.places.items():
            part = self._slots[value], slice(place.begin, place.end), value.shape
            self._parts.setdefault(self._slots[place.flat], []).append(part)
        own = {v for v in values if v.leaf is None and v not in rules.places}
        self._fresh = [(self._slots[v], v.shape, v.dtype) for v in trace.returned if v.leaf is None]
        self._arrays = [aligned(v.shape if v in own else (0,), v.dtype) for v in values]
        self._addresses = numpy.array([address(array) for array in self._arrays], numpy.int64)
        dtype = numpy.dtype(rules.dtype or "float32")
        self._rows, self._numbers = _tables(operations, self._slots, dtype)
        self._counted = [*_counted(operations, self._numbers)]
        self._helped = not any(operation.host and operation.has_threads for operation in operations)
        self._kept: list[Array] = []  # what the segments know by address
        self._segments = [self._segment(*segment) for segment in _segments(operations, helped=self._helped)]
        self._team = _team(dtype)
        self._pace = Pace(_UNWATCHED)

    def _segment(self, stages: Array, host: Operation | None) -> tuple[Placed | None, Any, list[int]]:
        """Return stages as a program for `kernels.interpreter`, what the host calls then, and its slots."""
        run, slots = (host.host, [self._slots[value] for value in host.operands]) if host else (None, [])
        if not len(stages):
            return None, run, slots
        self._kept.append(stages)
        program = numpy.zeros(layout.PROGRAM_WIDTH, numpy.int64)
        program[layout.OPERATIONS] = address(self._rows)
        program[layout.OPERATION_BYTES] = self._rows.strides[0]
        program[layout.NUMBERS] = address(self._numbers)
        program[layout.NUMBERS_BYTES] = self._numbers.strides[0]
        program[layout.SLOTS] = address(self._addresses)
        program[layout.STAGES] = address(stages)
        program[layout.COUNT] = len(stages)
        program[layout.STEPS] = 1
        program[layout.ENDS] = stages[:, layout.PARTS].sum() + 1
        return Placed.of(program), run, slots

    def getter(self, value: Value) -> Callable[[], Array]:
        """See `xpnet.replay.program.Program`."""
        return functools.partial(operator.getitem, self._arrays, self._slots[value])

    def forget(self) -> None:
        """See `xpnet.replay.program.Program`."""
        parts = (slot for several in self._parts.values() for slot, *_ in several)
        for slot in (*self._given.values(), *parts):
            self._arrays[slot] = None

    def _bind(self, slot: int, array: Array) -> Array:
        """Put an array, or a copy of it, into a slot, and return which."""
        if slot in self._changed and (address(array) % LINE or not array.flags.writeable):
            # The caller uses the array that the step returns, which may be another one.
            given, array = array, aligned(array.shape, array.dtype)
            array[...] = given
        begin = address(array)
        if begin % array.itemsize:  # Compiled code needs aligned elements.
            array = array.copy()
            begin = address(array)
        self._arrays[slot] = array
        self._addresses[slot] = begin
        if slot in self._compressed:
            starts, _ = others = self._compressed[slot]
            blocks = len(self._arrays[starts]) // len(array)
            for other, found in zip(others, self._images.of(array, blocks), strict=True):
                self._bind(other, found)
        for other, place, shape in self._parts.get(slot, ()):
            self._arrays[other] = array[place].reshape(shape)
            self._addresses[other] = begin + place.start * array.itemsize
        return array

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """See `xpnet.replay.program.Program`."""
        for leaf in moved:
            leaves[leaf] = self._bind(self._given[leaf], numpy.asarray(leaves[leaf]))
        for slot, shape, dtype in self._fresh:
            self._bind(slot, numpy.empty(shape, dtype))
        for count, blocks in self._counted:
            found = count(leaves)
            for block in blocks:
                block[...] = found
        for program, host, slots in self._segments:
            if program is not None:
                self._team.carry_out(program, helped=self._helped)
            if host is not None:
                host(*[self._arrays[slot] for slot in slots])

    def scan(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        """See `xpnet.replay.program.Program`."""
        rows = {self._given[place]: numpy.asarray(x) for place, x in loop.rows.items()}
        carried = [(self._given[place], self._slots[value]) for place, value in loop.carried.items()]
        if loop.steps == 1 or not self._may_loop(rows, carried):
            scan_by_runs(self, leaves, moved, loop)
            return
        self.run(leaves, moved)
        for slot, made in carried:  # Not the array that was given, which a swap would overwrite.
            self._bind(slot, aligned(self._arrays[made].shape, self._arrays[made].dtype))
        moves = {slot: x.strides[0] for slot, x in rows.items()}
        ((program, *_),) = self._segments
        changes = Changes(program.array, moves, carried, self._counted, loop.counted)  # type: ignore[union-attr]
        for begin, end in self._pace.chunks(loop.steps - 1):
            self._team.carry_out(changes.program_of(end - begin, leaves), helped=self._helped)
        if loop.steps % 2 == 0:  # Swapped an odd number of times.
            for slot, made in carried:
                self._arrays[slot], self._arrays[made] = self._arrays[made], self._arrays[slot]

    def _may_loop(self, rows: dict[int, Array], carried: list[tuple[int, int]]) -> bool:
        """Return whether steps differ by addresses and numbers only, and need no Python between them."""
        tied = {*self._parts, *itertools.chain(*self._compressed.values()), *self._compressed}
        tied |= {slot for parts in self._parts.values() for slot, *_ in parts}
        return (
            len(self._segments) == 1
            and self._segments[0][0] is not None
            and self._segments[0][1] is None
            and tied.isdisjoint((*rows, *itertools.chain(*carried)))
            and all(_is_aligned(x) for x in rows.values())
        )


def _is_aligned(rows: Array) -> bool:
    """Return whether the elements of each row are where compiled code needs them."""
    begin: int = rows.__array_interface__["data"][0]
    return begin % rows.itemsize == 0 and rows.strides[0] % rows.itemsize == 0


def _counted(operations: Sequence[Operation], numbers: Array) -> Iterator[tuple[Count, list[Array]]]:
    """Yield what counts the numbers of operations, and where they stand: blocks of consecutive rows."""
    blocks: dict[Count, list[Array]] = {}
    end = 0
    for count, group in itertools.groupby(operations, lambda operation: operation.count):
        members = [*group]
        first, end = end, end + len(members)
        if count is not None:
            blocks.setdefault(count, []).append(numbers[first:end, : len(members[0].numbers)])
    yield from blocks.items()


def _tables(operations: Sequence[Operation], slots: Mapping[Value, int], dtype: Any) -> tuple[Array, Array]:
    """Return the operations in the form that the interpreter reads: whole and floating-point numbers."""
    width = layout.DETAILS + max((len(o.operands) + len(o.sizes) for o in operations), default=0)
    rows = numpy.zeros((len(operations), width), numpy.int64)
    numbers = numpy.zeros((len(operations), max((len(o.numbers) for o in operations), default=0)), dtype)
    for row, own, operation in zip(rows, numbers, operations, strict=True):
        if operation.host is None:
            row[layout.FUNCTION] = machine_code.address(operation.name, dtype)
            row[layout.LENGTH] = operation.length
            details = *(slots[value] for value in operation.operands), *operation.sizes
            row[layout.DETAILS : layout.DETAILS + len(details)] = details
            own[: len(operation.numbers)] = operation.numbers
    return rows, numbers


def _segments(operations: Sequence[Operation], *, helped: bool) -> Iterator[tuple[Array, Operation | None]]:
    """Yield consecutive stages in the form that the interpreter reads, and what the host does after them."""
    stages: list[tuple[int, int, int]] = []
    end = 0
    for (_, by_host), group in itertools.groupby(operations, lambda o: (o.stage, o.host is not None)):
        members = list(group)
        first, end = end, end + len(members)
        if not by_host:
            shared = helped and any(operation.length for operation in members)
            stages.append((first, end, PARTS if shared else 1))
            continue
        for operation in members:
            yield numpy.array(stages, numpy.int64).reshape(-1, layout.STAGE_WIDTH), operation
            stages = []
    yield numpy.array(stages, numpy.int64).reshape(-1, layout.STAGE_WIDTH), None
