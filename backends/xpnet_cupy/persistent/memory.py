"""The shared memory of a block of a persistent kernel, and the tiles of the parameters."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy

from xpnet.replay.trace import Value
from xpnet_cupy.launch import WARP
from xpnet_cupy.persistent.calls import width_of

if TYPE_CHECKING:
    from xpnet_cupy.persistent.planned import Plan, Step

ALIGNMENT = 16
LISTED = 4  # as in persistent.cu
SAMPLES = 128  # as in persistent_tiles.cu
PER_THREAD = 2
"""Elements of a tile that a thread steps, at most."""
KEPT = 4
"""Elements of parameters that a thread keeps, at most."""
MOST_ROWS = {4: 16, 8: 8}
"""The rows of a tile, at most, by the size of an element: their sums are in registers."""


def aligned(elements: int, dtype: numpy.dtype[Any]) -> int:
    """Return a number of elements that fills whole units of 16 bytes."""
    unit = ALIGNMENT // dtype.itemsize
    return -(-elements // unit) * unit


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are in shared memory, in bytes.

    Attributes
    ----------
    kept : int
        Parameters and states that stay.
    counts, slots : int
    places, values : dict of Value to int
        Lists of rows.
    rows : dict of Value to int
        Rows of the first stage; of those that are made there, some share memory.
    held : dict of Value to int
        Copies of weights in the first stage, as many as make the whole no larger.
    parts, inputs, tile_parts : int
        Parts of sums in the first stage; inputs and parts of sums in the second, in the memory of the first.
    ahead : int
        Inputs of the next step's second stage.
    size : int
    """

    kept: int
    counts: int
    slots: int
    places: dict[Value, int]
    values: dict[Value, int]
    rows: dict[Value, int]
    held: dict[Value, int]
    parts: int
    inputs: int
    tile_parts: int
    ahead: int
    size: int


class _Bytes:
    """Hands out pieces of memory, one behind the other."""

    def __init__(self, begin: int = 0) -> None:
        self.end = begin

    def take(self, count: int, size: int) -> int:
        begin = self.end
        self.end += -(-count * size // ALIGNMENT) * ALIGNMENT
        return begin


def layout_of(plan: Plan, threads: int) -> Layout:
    """Return the layout of the shared memory of a block of so many threads."""
    size, warps = plan.dtype.itemsize, threads // WARP
    stay = _Bytes()
    kept = stay.take(kept_capacity(plan, threads), size)
    counts, slots = stay.take(LISTED * warps, 4), stay.take(warps, size)
    places, values = {}, {}
    for value in plan.listed_in_order:
        places[value] = stay.take(width_of(value), 4)
        values[value] = stay.take(width_of(value), size)
    arrays = dict.fromkeys(value for call in plan.calls for value in row_arrays(plan, call))
    given = {value: stay.take(width_of(value), size) for value in arrays if value in plan.sources}
    most = {step: most_rows(step, threads, size) for step in plan.steps}
    samples = min(plan.batch, SAMPLES)
    inputs_of = {step: padded(rows, size) * samples for step, rows in most.items()}
    given_inputs = (inputs_of[step] for step in plan.steps if plan.is_given(step))
    ahead = stay.take(max(given_inputs, default=0), size)
    first, second = _Bytes(stay.end), _Bytes(stay.end)
    inputs = second.take(max(inputs_of.values()), size)
    tile_parts = second.take(warps * max(rows * columns_of(step) for step, rows in most.items()), size)
    rows = given | _rows(plan, first, size)
    columns = [call.arrays["bias"].shape[0] for call in plan.calls if call.name == "linear"]
    parts = first.take(max((_parts(n, warps, size) for n in columns), default=0), size)
    held = _held(plan, first, second.end, size)
    whole = max(first.end, second.end)
    return Layout(kept, counts, slots, places, values, rows, held, parts, inputs, tile_parts, ahead, whole)


def _held(plan: Plan, memory: _Bytes, end: int, size: int) -> dict[Value, int]:
    """Return the places of copies of weights that fit in memory up to an end.

    The first layer is done while they are copied.
    """
    first, found = plan.calls[0].arrays.get("weight"), {}
    for call in plan.calls[1:]:
        weight = call.arrays.get("weight")
        if weight is None or weight is first or weight in found or weight in plan.strided:
            continue
        if call.name == "linear" and plan.same_as(call.arrays["x"]) in plan.listed:
            continue
        if memory.end + aligned(math.prod(weight.shape), plan.dtype) * size <= end:
            found[weight] = memory.take(math.prod(weight.shape), size)
    return found


def kept_capacity(plan: Plan, threads: int) -> int:
    """Return how many elements of parameters and states a block can keep."""
    states = max(len(step.call.changed) for step in plan.steps)
    return KEPT * threads * states


def _parts(columns: int, warps: int, size: int) -> int:
    """Return how many parts of sums a layer has: see `Bands` in persistent.cu."""
    pack = 4 if size == 4 and columns % 4 == 0 else 2 if columns % 2 == 0 else 1
    lanes = min(1 << (columns // pack - 1).bit_length(), WARP)
    bands = -(-columns // (lanes * pack))
    return (warps // bands if bands < warps else 1) * columns


def _rows(plan: Plan, memory: _Bytes, size: int) -> dict[Value, int]:
    """Return the place of each row, which is free again after its last use."""
    last: dict[Value, int] = {}
    for i, call in enumerate(plan.calls):
        for value in (*call.arrays.values(), *call.results):
            if value is not None:
                last[plan.same_as(value)] = i
    found: dict[Value, int] = {}
    free: list[tuple[int, int]] = []  # lengths in bytes, and places
    taken: dict[Value, tuple[int, int]] = {}
    for i, call in enumerate(plan.calls):
        for value in row_arrays(plan, call):
            if value not in found and value not in plan.sources:
                needed = -(-width_of(value) * size // ALIGNMENT) * ALIGNMENT
                fits = min((piece for piece in free if piece[0] >= needed), default=None)
                if fits is None:
                    fits = needed, memory.take(width_of(value), size)
                else:
                    free.remove(fits)
                taken[value], found[value] = fits, fits[1]
        for value in [value for value in taken if last[value] <= i]:
            free.append(taken.pop(value))
    return found


def row_arrays(plan: Plan, call: Any) -> list[Value]:
    """Return the values of a call that are rows in shared memory, in order: arguments, then results."""
    names = [name for name in call.arrays if not (call.name == "linear_backward" and name in ("x", "weight"))]
    names = [name for name in names if not (call.name == "linear" and name in ("weight", "bias"))]
    results = call.results[:1] if call.name == "linear_backward" else call.results
    values = [
        plan.same_as(value)
        for value in (*(call.arrays[name] for name in names), *results)
        if value is not None
    ]
    return [v for v in dict.fromkeys(values) if len(v.shape) > 1 and v not in plan.listed]


def columns_of(step: Step) -> int:
    """Return the columns of a tile: one or two for each lane of a warp."""
    columns = step.shape[1]
    pack = 2 if columns % 2 == 0 else 1
    across = -(-columns // (pack * WARP))
    return -(-columns // (across * pack)) * pack


def most_rows(step: Step, threads: int, size: int) -> int:
    """Return the most rows of a tile of a step."""
    most = min(MOST_ROWS[size], max(1, PER_THREAD * threads // columns_of(step)))
    return min(most, step.shape[0])


def padded(rows: int, size: int) -> int:
    """Return how many inputs a tile of so many rows has: see `Inputs` in persistent_tiles.cu."""
    pack = ALIGNMENT // size if rows > 2 else rows
    return -(-rows // pack) * pack


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tiles of all parameters; block b has those of numbers b, b + blocks, ...

    Attributes
    ----------
    rows, columns : dict of Step to int
        Of a tile.
    first : dict of Step to int
        The number of its first tile.
    count : int
        Of all tiles, and one for each sum of losses behind them.
    turns : int
        How many a block has at most.
    """

    rows: dict[Step, int]
    columns: dict[Step, int]
    first: dict[Step, int]
    count: int
    turns: int

    def most(self) -> int:
        """Return the most elements of a tile and its states."""
        return max(self.rows[s] * self.columns[s] * len(s.call.changed) for s in self.rows)


def tiles_of(plan: Plan, blocks: int, threads: int) -> Tiles:
    """Return tiles with the fewest rows that take no more turns than those with the most."""
    size = plan.dtype.itemsize
    best = _tiles(plan, blocks, threads, MOST_ROWS[size])
    for rows in range(MOST_ROWS[size] - 1, 0, -1):
        other = _tiles(plan, blocks, threads, rows)
        if other.turns > best.turns:
            break
        best = other
    return best


def _tiles(plan: Plan, blocks: int, threads: int, most: int) -> Tiles:
    size, count = plan.dtype.itemsize, 0
    rows, columns, first = {}, {}, {}
    for step in plan.steps:
        height, width = step.shape
        rows[step] = min(most, most_rows(step, threads, size))
        columns[step] = columns_of(step)
        first[step] = count
        count += math.ceil(height / rows[step]) * math.ceil(width / columns[step])
    count += len(plan.sums)
    return Tiles(rows, columns, first, count, -(-count // blocks))
