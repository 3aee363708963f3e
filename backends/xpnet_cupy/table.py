"""A table on the device of what differs from call to call of a captured step: addresses and counts."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import cupy
import numpy

from xpnet.replay.trace import Value

# Numbers that are computed and copied at once: every so many steps, about as long as a step takes.
_BLOCK = 256


class Numbers:
    """What a function makes of whole numbers, on the device.

    Parameters
    ----------
    function : callable
        Takes a whole number and returns a float.
    dtype : dtype
    """

    def __init__(self, function: Callable[[int], float], dtype: Any) -> None:
        self._function = function
        self._dtype = dtype
        self._first = 0
        self._block: Any = ()

    def address(self, number: int) -> int:
        """Return where the device has what the function makes of a number; the next ones follow it."""
        if not 0 <= number - self._first < len(self._block):
            self._first, self._block = number, cupy.asarray(numpy.array(self._computed(number), self._dtype))
        return int(self._block.data.ptr + (number - self._first) * self._block.itemsize)

    def left(self, number: int) -> int:
        """Return how many numbers follow the one whose address was returned."""
        return self._first + len(self._block) - 1 - number

    def _computed(self, number: int) -> list[float]:
        found = [self._function(number)]
        # A schedule of a user's may end before the block does.
        with contextlib.suppress(Exception):
            for following in range(number + 1, number + _BLOCK):
                found.append(self._function(following))
        return found


@dataclasses.dataclass(frozen=True)
class Cell:
    """A whole number of the table.

    Attributes
    ----------
    value : Value
        The cell as an array of one int64, for tasks.
    leaf : int
        Which leaf of the arguments it holds: the address of an array, or a number.
    added : int
        What is added to a number.
    advance : int
        By how much each call changes the cell itself.
    numbers : Numbers or None
        If there are some, the cell holds the address of what they are for the number.
    """

    value: Value
    leaf: int
    added: int
    advance: int
    numbers: Numbers | None = None

    def wanted(self, leaf: Any) -> int:
        """Return what it must hold before a call with this leaf."""
        if not isinstance(leaf, int):
            return int(leaf.data.ptr)
        number = leaf + self.added
        return number if self.numbers is None else self.numbers.address(number)

    def ahead(self, leaf: Any, added: int) -> int:
        """Return for how many more calls it needs no host, if the leaf grows by as much after each call.

        An address grows by bytes.
        """
        if self.numbers is not None:
            return self.numbers.left(leaf + self.added) if added == 1 else 0
        return sys.maxsize if added == self.advance else 0


class Table:
    """The cells of a program.

    A captured graph keeps addresses and numbers as they were, so what differs is read from here. Kernels
    prepare the table for the next call; the host writes only what turns out to be different.
    """

    def __init__(self) -> None:
        self._cells: list[Cell] = []

    @property
    def leaves(self) -> set[int]:
        """The leaves of the arguments that cells hold."""
        return {cell.leaf for cell in self._cells}

    def add(self, leaf: int, *, added: int = 0, advance: int = 0, numbers: Numbers | None = None) -> Value:
        """Add a cell, and return the value that stands for it among the inputs of tasks."""
        cell = Cell(Value((1,), "int64"), leaf, added, advance, numbers)
        self._cells.append(cell)
        return cell.value

    def allocate(self, values: list[Any], slots: Mapping[Any, int]) -> None:
        """Allocate the table, and put its cells at their slots among the values of a program."""
        self._numbers = cupy.zeros((len(self._cells),), "int64")
        for i, cell in enumerate(self._cells):
            values[slots[cell.value]] = self._numbers[i : i + 1]
        self.forget()

    def forget(self) -> None:
        """Write all cells at the next call."""
        self._expected: list[int | None] = [None] * len(self._cells)

    def write(self, leaves: list[Any]) -> None:
        """Write what the cells do not hold yet, before a call with these leaves."""
        for i, cell in enumerate(self._cells):
            wanted = cell.wanted(leaves[cell.leaf])
            if self._expected[i] != wanted:
                self._numbers[i] = wanted
            self._expected[i] = wanted + cell.advance

    def ahead(self, leaves: list[Any], added: Mapping[int, int]) -> int:
        """Return for how many calls after one with these leaves, just written, no cell must be written.

        `added` is by how much leaves grow after each call, see `Cell.ahead`.
        """
        found = (cell.ahead(leaves[cell.leaf], added.get(cell.leaf, 0)) for cell in self._cells)
        return min(found, default=sys.maxsize)

    def skip(self, calls: int) -> None:
        """Note that there were so many calls for which no cell had to be written."""
        for i, cell in enumerate(self._cells):
            before = self._expected[i]
            self._expected[i] = None if before is None else before + calls * cell.advance
