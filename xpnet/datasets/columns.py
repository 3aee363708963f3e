"""Columns of a table while it is read: numbers, or texts by their codes."""

from __future__ import annotations

import math
import re
from typing import NoReturn

import numpy

from xpnet.datasets.csv_rows import Block, Refusal
from xpnet.errors import shortened

MISSING = "", "na", "n/a", "nan", "null"
"""What a missing cell has, in lower case."""
MOST_LEVELS = 1000
"""Different texts that a column may have, as classes or as one-hot columns."""
_SHOWN = 40  # characters of a cell or a name


def quoted(text: str) -> str:
    """Return a cell or a name of the file in quotation marks, shortened."""
    return repr(shortened(text, _SHOWN))


def number(text: str) -> float | None:
    """Return the number in a cell, or None if it has none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


class Numbers:
    """A column of numbers.

    Parameters
    ----------
    name : str
    advice : str
        What to do about text.
    """

    def __init__(self, name: str, advice: str) -> None:
        self.name = name
        self._advice = advice
        self._parts: list[numpy.ndarray] = []

    def add(self, cells: tuple[str, ...], block: Block) -> None:
        """Add the cells of a block, or raise unless they are finite numbers."""
        try:
            found = numpy.array([*map(float, cells)])
        except ValueError:
            self._refuse(cells, block)
        # Python takes 1_000 for a number; a table does not.
        if not numpy.isfinite(found).all() or "_" in "".join(cells):
            self._refuse(cells, block)
        self.put(found)

    def put(self, values: numpy.ndarray) -> None:
        """Add finite numbers, shape (rows,), float64."""
        self._parts.append(values)

    def _refuse(self, cells: tuple[str, ...], block: Block) -> NoReturn:
        values = [*map(number, cells)]
        i = next(i for i, value in enumerate(values) if value is None or not math.isfinite(value))
        cell = cells[i].strip()
        check_present(self.name, cell, block, i)
        where = f"in {block.place(i)}, column {quoted(self.name)}"
        if values[i] is not None:
            raise Refusal(f"has {quoted(cell)} {where}", "correct the row, or leave it out")
        is_comma = re.fullmatch(r"-?\d+,\d+", cell)
        advice = "write decimals with a point" if is_comma else self._advice
        raise Refusal(f"has the text {quoted(cell)} {where}, which must be a number", advice)

    def values(self) -> numpy.ndarray:
        """Return all numbers, shape (n,), float64."""
        return numpy.concatenate(self._parts)


class Texts:
    """A column of texts: one-hot columns, or a target.

    Attributes
    ----------
    found : dict of str to tuple
        Each different text, in the order of the file, with the number of its code and its first place.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: dict[str, tuple[int, str]] = {}
        self._parts: list[numpy.ndarray] = []

    def add(self, cells: tuple[str, ...], block: Block) -> None:
        """Add the cells of a block, or raise if one is missing."""
        found, texts = self.found, [*map(str.strip, cells)]
        for i, text in enumerate(texts):
            if text not in found:
                check_present(self.name, text, block, i)
                found[text] = len(found), block.place(i)
        self._parts.append(numpy.array([found[text][0] for text in texts], numpy.int32))

    def codes(self) -> numpy.ndarray:
        """Return the number of the text in each row, shape (n,), int32."""
        return numpy.concatenate(self._parts)

    def numbers(self) -> list[float | None]:
        """Return the number in each different text, or None if it has none."""
        return [*map(number, self.found)]

    def place(self, code: int) -> str:
        """Return the first place of a text, for an error."""
        return [*self.found.values()][code][1]


def check_present(name: str, cell: str, block: Block, i: int) -> None:
    """Raise if a cell is missing."""
    if cell.lower() in MISSING:
        what = "nothing" if not cell else quoted(cell)
        raise Refusal(
            f"has {what} in {block.place(i)}, column {quoted(name)}", "fill in the cell, or leave out the row"
        )
