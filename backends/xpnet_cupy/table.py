"""A table on the device of what differs from call to call of a captured step: addresses and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import cupy

from xpnet.replay.trace import Value


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
    """

    value: Value
    leaf: int
    added: int
    advance: int


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

    def add(self, leaf: int, *, added: int = 0, advance: int = 0) -> Value:
        """Add a cell, and return the value that stands for it among the inputs of tasks."""
        cell = Cell(Value((1,), "int64"), leaf, added, advance)
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
            leaf = leaves[cell.leaf]
            wanted = leaf + cell.added if isinstance(leaf, int) else leaf.data.ptr
            if self._expected[i] != wanted:
                self._numbers[i] = wanted
            self._expected[i] = wanted + cell.advance
