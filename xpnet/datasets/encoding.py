"""How the columns of a table become inputs and targets, as plain data that a model file can hold."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as Place
from typing import Any

import numpy

from xpnet.checks import choice
from xpnet.datasets.columns import Numbers, Texts, quoted
from xpnet.datasets.csv_rows import Block, Path, Refusal, opened_rows
from xpnet.datasets.dataset import Dataset
from xpnet.errors import shortened

CLASSIFICATION, REGRESSION = TASKS = "classification", "regression"
_MOST_SHOWN = 120  # characters of a list of names

Column = Numbers | Texts


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the columns of a table become inputs and targets.

    It is plain data: ``Encoding(**encoding.about())`` is equal to `encoding`, also by way of JSON.

    Attributes
    ----------
    columns : tuple of str
        The columns that the inputs are made of, in order.
    target : tuple of str
        The column of the target, or several.
    task : {"classification", "regression"}
    classes : tuple of str or None
        What the target has for classes 0, 1, 2, ...; None in regression.
    levels : dict of str to tuple of str
        Of each column that becomes one-hot columns: its different texts, in the order of these.

    Raises
    ------
    TypeError, ValueError
        If an attribute is none of these, or does not fit the others.
    """

    columns: tuple[str, ...]
    target: tuple[str, ...]
    task: str
    classes: tuple[str, ...] | None = None
    levels: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        choice(TASKS)("task", self.task)
        found: dict[str, Any] = {name: names(name, getattr(self, name)) for name in ("columns", "target")}
        if (self.classes is None) != (self.task == REGRESSION):
            raise ValueError(f"`classes` is {self.classes!r}, which is not for the task {self.task!r}")
        if self.classes is not None:
            found["classes"] = names("classes", self.classes)
        if not isinstance(self.levels, Mapping) or not self.levels.keys() <= {*found["columns"]}:
            raise ValueError("`levels` must be a dict by names of `columns`")
        found["levels"] = {name: names("levels", texts) for name, texts in self.levels.items()}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the inputs' features: of columns, or ``column=level`` of one-hot columns."""
        return tuple(
            feature
            for name in self.columns
            for feature in (
                [f"{name}={level}" for level in self.levels[name]] if name in self.levels else [name]
            )
        )

    def about(self) -> dict[str, Any]:
        """Return the attributes as lists and dicts, as JSON has them."""
        return {
            "columns": [*self.columns],
            "target": [*self.target],
            "task": self.task,
            "classes": None if self.classes is None else [*self.classes],
            "levels": {name: [*texts] for name, texts in self.levels.items()},
        }

    def read(
        self,
        path: Path,
        *,
        targets: bool | None = None,
        delimiter: str | None = None,
        max_bytes: int | None = None,
    ) -> Dataset | numpy.ndarray:
        """Return a CSV file, encoded in this way, as a data set; or only its inputs, if it has no target.

        Columns are found by name, in any order; others are not read.

        Parameters
        ----------
        path, delimiter, max_bytes
            As of `csv_file`.
        targets : bool, optional
            Whether to read the target. If omitted, it is read if the file has its column.

        Returns
        -------
        dataset : Dataset, or array, shape (n, features), float32 or float64

        Raises
        ------
        ValueError
            If a column is missing, or a cell is missing, no number, or has a text that is not known.
        """
        with opened_rows(path, delimiter=delimiter, max_bytes=max_bytes) as (header, blocks):
            if targets is None:
                targets = any(name in header for name in self.target)
            advice = "correct it; the model was trained with numbers there"
            columns: list[Column] = [
                Texts(name) if name in self.levels else Numbers(name, advice) for name in self.columns
            ]
            wanted: list[Column] = [
                Numbers(name, advice) if self.classes is None else Texts(name)
                for name in (self.target if targets else ())
            ]
            fill([*columns, *wanted], header, blocks)
            inputs = encoded_inputs(columns, self.levels)
            if not targets:
                return inputs
            return self.dataset(path, inputs, self._targets(wanted))

    def dataset(self, path: Path, inputs: numpy.ndarray, targets: numpy.ndarray) -> Dataset:
        """Return inputs and targets of a file, encoded in this way, as a data set."""
        name = str(Place(os.fsdecode(path)).resolve())
        if self.classes is not None and not all(map(_is_whole, self.classes)):
            targets = numpy.array(self.classes)[targets]  # So that predictions are names, too.
        return Dataset(inputs, targets, name=name, classes=self.classes, encoding=self)

    def check(self, name: str, found: Encoding | None) -> None:
        """Raise ValueError unless a data set, which the caller knows as `name`, has the same inputs.

        One that is not from a table is not checked.
        """
        if found is None or found.features == self.features:
            return
        pairs = itertools.zip_longest(found.features, self.features)
        i, (theirs, own) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
        has, expected = ("nothing" if feature is None else quoted(feature) for feature in (theirs, own))
        raise ValueError(
            f"`{name}` has {has} as feature {i}, but the model takes {expected}; read its table with "
            "`run.encoding.read(path)`"
        )

    def _targets(self, columns: Sequence[Column]) -> numpy.ndarray:
        first = columns[0]
        if isinstance(first, Texts) and self.classes is not None:
            return class_indices(first, self.classes)
        return narrowed(numpy.stack([c.values() for c in columns if isinstance(c, Numbers)], axis=1))


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def names(argument: str, value: Any) -> tuple[str, ...]:
    """Return the names that the caller passes as `argument`, one or several, as a tuple of different str."""
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not found or not all(isinstance(name, str) for name in found):
        raise TypeError(f"`{argument}` must be a name or several, got {shortened(repr(value), 100)}")
    twice = [name for i, name in enumerate(found) if name in found[:i]]
    if twice:
        raise ValueError(f"`{argument}` has {quoted(twice[0])} twice; name it once")
    return found


def fill(columns: Sequence[Column], header: Sequence[str], blocks: Iterable[Block]) -> None:
    """Add all cells of a table to columns, which are found by name."""
    places = [find(column.name, header) for column in columns]
    for block in blocks:
        for column, place in zip(columns, places, strict=True):
            column.add(block.columns[place], block)


def find(name: str, header: Sequence[str], what: str = "column") -> int:
    """Return the place of a column, or of something else, or raise with those that there are."""
    if name in header:
        return header.index(name)
    lower = [other.lower() for other in header]
    # Only for an error, so that `import xpnet` does not pay for it.
    close = importlib.import_module("difflib").get_close_matches(name.lower(), lower, n=1)
    advice = f"did you mean {quoted(header[lower.index(close[0])])}?" if close else "correct the name"
    listed = shortened(", ".join(map(repr, header)), _MOST_SHOWN)
    raise Refusal(f"has no {what} {quoted(name)}, only {listed}", advice)


def encoded_inputs(columns: Sequence[Column], levels: Mapping[str, Sequence[str]]) -> numpy.ndarray:
    """Return the inputs that columns make, shape (n, features), float32 or float64."""
    parts = []
    for column in columns:
        if isinstance(column, Numbers):
            parts.append(narrowed(column.values()[:, None]))
        else:
            known = levels[column.name]
            codes = _translated(column, known, f"column {quoted(column.name)}")
            parts.append(numpy.eye(len(known), dtype=numpy.float32)[codes])
    return numpy.concatenate(parts, axis=1)


def class_indices(column: Texts, classes: Sequence[str]) -> numpy.ndarray:
    """Return the class of each row, shape (n,), int32; a whole number may be written in any way."""
    return _translated(column, classes, f"the target {quoted(column.name)}")


def as_class(text: str, number: float | None) -> str:
    """Return the name of the class that a cell has: a whole number as Python writes it, else the text."""
    return str(int(number)) if number is not None and number.is_integer() else text


def narrowed(values: numpy.ndarray) -> numpy.ndarray:
    """Return numbers as float32; or as they are, if one would overflow or become 0.

    The same holds for a whole number that would change.
    """
    with numpy.errstate(over="ignore", under="ignore"):
        narrow = values.astype(numpy.float32)
    kept = numpy.isfinite(narrow) & ((narrow != 0) | (values == 0))
    kept &= (narrow == values) | (values != numpy.rint(values))
    return narrow if kept.all() else values


def _translated(column: Texts, known: Sequence[str], what: str) -> numpy.ndarray:
    """Return the place of each row's text among those that are known, shape (n,), int32."""
    places = {text: i for i, text in enumerate(known)}
    found = []
    for code, (text, number) in enumerate(zip(column.found, column.numbers(), strict=True)):
        place = places.get(text, places.get(as_class(text, number)))
        if place is None:
            listed = shortened(", ".join(map(repr, known)), _MOST_SHOWN)
            raise Refusal(
                f"has {quoted(text)} in {column.place(code)} for {what}, which has {listed}",
                "correct the cell, or leave out the row",
            )
        found.append(place)
    return numpy.array(found, numpy.int32)[column.codes()]
