"""What changes from step to step of a scan, in the form that the interpreter reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from xpnet_numba import layout
from xpnet_numba.counted import Count
from xpnet_numba.team import Placed, address

Array = Any


class Changes:
    """A program for many steps, and what is changed before each.

    Parameters
    ----------
    program : NumPy array
        For one step, see `layout`.
    moves : dict of int to int
        How many bytes are added to the address in a slot.
    swaps : list of tuple of int
        Two slots that exchange their addresses.
    counted : list of tuple
        What counts the numbers of operations, and where they stand: blocks of consecutive rows.
    added : dict of int to int
        By the place of a whole number among the leaves: what is added to it.
    """

    def __init__(
        self,
        program: Array,
        moves: Mapping[int, int],
        swaps: Sequence[tuple[int, int]],
        counted: Sequence[tuple[Count, Sequence[Array]]],
        added: Mapping[int, int],
    ) -> None:
        self._added = added
        self._counts = [count for count, _ in counted]
        begin, copies = 0, []
        for _, blocks in counted:
            size = blocks[0].shape[1]
            copies += [(begin, address(row), size) for block in blocks for row in block]
            begin += size
        self._dtype = counted[0][1][0].dtype if counted else None
        self._program = Placed.of(program.copy())
        self._kept = [
            self._point(at, rows)
            for at, rows in (
                (layout.MOVES, [*moves.items()]),
                (layout.SWAPS, swaps),
                (layout.COPIES, copies),
            )
        ]

    def _point(self, at: int, rows: Sequence[Sequence[int]]) -> Array:
        """Write where a table is, and how many rows it has."""
        table = numpy.array(rows, numpy.int64)
        self._program.array[at : at + 2] = address(table), len(rows)
        return table

    def program_of(self, steps: int, leaves: list[Any]) -> Placed:
        """Return the program of so many further steps, given the leaves of the last one.

        Whole numbers among the leaves become those of the last of these steps.
        """
        program = self._program.array
        program[layout.STEPS] = steps
        if self._counts:
            self._table = numpy.array([self._next(leaves) for _ in range(steps)], self._dtype)
            program[layout.TABLE] = address(self._table)
            program[layout.TABLE_BYTES] = self._table.strides[0]
        else:
            self._add_to(leaves, steps)
        return self._program

    def _next(self, leaves: list[Any]) -> list[float]:
        """Return the numbers of the next step."""
        self._add_to(leaves, 1)
        return [number for count in self._counts for number in count(leaves)]

    def _add_to(self, leaves: list[Any], times: int) -> None:
        for place, added in self._added.items():
            leaves[place] += times * added
