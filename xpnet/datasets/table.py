"""Tables: CSV files whose columns are features and targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy

from xpnet.checks import choice
from xpnet.datasets.columns import MOST_LEVELS, Numbers, Texts, quoted
from xpnet.datasets.csv_rows import Path, Refusal, opened_rows
from xpnet.datasets.dataset import Dataset
from xpnet.datasets.encoding import (
    CLASSIFICATION,
    REGRESSION,
    TASKS,
    Column,
    Encoding,
    as_class,
    class_indices,
    encoded_inputs,
    fill,
    find,
    names,
    narrowed,
)

_MOST_CLASSES = 20
"""Different whole numbers in a target that are taken for classes, if they are not 0, 1, 2, ..."""


def csv_file(
    path: Path,
    *,
    target: str | Iterable[str],
    one_hot: bool | str | Iterable[str] = (),
    columns: Iterable[str] | None = None,
    task: str | None = None,
    delimiter: str | None = None,
    max_bytes: int | None = None,
) -> Dataset:
    """Return a CSV file with a header as a data set.

    The file is UTF-8, plain or gzipped. Spaces around cells do not count. A cell that is missing (empty, NA,
    N/A, nan or null) is refused. Inputs and float targets are float32; or float64 if a number would overflow,
    or become 0, or is whole and would change.

    Parameters
    ----------
    path : path
    target : str, or iterable of str
        The column to learn. Several make targets of several columns, in this order, all of them floats.
    one_hot : iterable of str, or bool
        The columns of text, or of numbers that are names, that become one column of 0 and 1 for each
        different text, in order. True means all columns of text.
    columns : iterable of str, optional
        The other columns that the inputs are made of, in this order. If omitted, all.
    task : {"classification", "regression"}, optional
        Whether the target has classes or numbers. If omitted: text means classes. Whole numbers mean classes
        if there are two rows or more for each on average, and at most 20 different ones, or those from 0 up
        without a gap. Other numbers mean regression, and so do several columns.
    delimiter : str, optional
        One character. If omitted, a comma, a semicolon or a tab, whichever the header has.
    max_bytes : int, optional
        Limit for the unpacked file. If omitted, a gzipped file may unpack to 256 MiB, or to 32 times its own
        size if that is more; a plain file has no limit.

    Returns
    -------
    dataset : Dataset
        Its `encoding` has the names of columns, and reads other tables in the same way. Classes have their
        texts as names, in order; whole numbers are written without a fraction. Its name is the file's
        absolute path, with links resolved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be read.
    ValueError
        If it is no table, or a column or a cell is not as it must be; the message names row and column.
    """
    wanted = names("target", target)
    if task is not None:
        choice(TASKS)("task", task)
    if len(wanted) > 1 and task == CLASSIFICATION:
        raise ValueError(f"`task` {task!r} has one column as target, got {len(wanted)}; leave it out")
    is_one_hot = set() if isinstance(one_hot, bool) else {*names("one_hot", one_hot)} if one_hot else set()
    with opened_rows(path, delimiter=delimiter, max_bytes=max_bytes) as (header, blocks):
        chosen = _features(header, wanted, columns, is_one_hot)
        makers = [_feature(name, one_hot is True or name in is_one_hot) for name in chosen]
        learned: list[Column] = [Texts(wanted[0])] if len(wanted) == 1 else [*map(_target_number, wanted)]
        fill([*makers, *learned], header, blocks)
        if one_hot is True:
            makers = [_as_numbers(column) for column in makers]
        levels = {column.name: _levels(column) for column in makers if isinstance(column, Texts)}
        inputs = encoded_inputs(makers, levels)
        task, classes, targets = _learned(learned, task)
        return Encoding(chosen, wanted, task, classes, levels).dataset(path, inputs, targets)


def _features(
    header: Sequence[str], target: Sequence[str], columns: Iterable[str] | None, one_hot: set[str]
) -> tuple[str, ...]:
    """Return the names of the columns that the inputs are made of."""
    for name in target:
        find(name, header)
    if columns is None:
        found = tuple(name for name in header if name not in target)
        if "" in found:
            n = header.index("") + 1
            advice = "name it in the header; if it only numbers the rows, choose the others with `columns=`"
            raise Refusal(f"has no name for column {n}", advice)
    else:
        found = names("columns", columns)
    if not found:
        raise Refusal("has no column besides the target", "add features")
    for name in target:
        if name in found:
            raise ValueError(f"`columns` has the target {quoted(name)}; leave it out")
    for name in one_hot:
        find(name, header)
        if name not in found:
            raise ValueError(
                f"`one_hot` has {quoted(name)}, which is not a column of the inputs; leave it out"
            )
    return found


def _feature(name: str, is_one_hot: bool) -> Column:
    advice = f"pass `one_hot=[{name!r}]` (or `--one-hot`) if it is text, or `columns=` without it"
    return Texts(name) if is_one_hot else Numbers(name, advice)


def _target_number(name: str) -> Column:
    return Numbers(name, "correct the row; several targets are numbers")


def _as_numbers(column: Column) -> Column:
    """Return a column as one of numbers, if each of its cells is a number."""
    if not isinstance(column, Texts) or None in column.numbers():
        return column
    return _numbers_of(column)


def _numbers_of(column: Texts) -> Numbers:
    """Return a column of texts that are numbers as one of numbers, or raise unless these are finite."""
    values = column.numbers()
    for code, (text, value) in enumerate(zip(column.found, values, strict=True)):
        if value is None or not math.isfinite(value):
            raise Refusal(
                f"has {quoted(text)} in {column.place(code)}, column {quoted(column.name)}, which must be a "
                "number",
                "correct the row",
            )
    found = Numbers(column.name, "")
    found.put(numpy.array(values, numpy.float64)[column.codes()])
    return found


def _levels(column: Texts) -> tuple[str, ...]:
    """Return the different texts of a column in order: that of numbers, if all of them are."""
    if len(column.found) > MOST_LEVELS:
        raise Refusal(
            f"has {len(column.found)} different texts in column {quoted(column.name)}, but at most "
            f"{MOST_LEVELS} can be told apart",
            "leave the column out with `columns=`",
        )
    return _in_order(column.found)


def _in_order(texts: Iterable[str]) -> tuple[str, ...]:
    try:
        return tuple(sorted(texts, key=lambda text: (float(text), text)))
    except ValueError:
        return tuple(sorted(texts))


def _learned(
    columns: Sequence[Column], task: str | None
) -> tuple[str, tuple[str, ...] | None, numpy.ndarray]:
    """Return the task, the names of classes, and the targets that columns make."""
    first = columns[0]
    if isinstance(first, Texts):
        task = task or _task(first)
        if task == CLASSIFICATION:
            classes = _classes(first)
            return task, classes, class_indices(first, classes)
        columns = [_numbers_of(first)]
    values = [column.values() for column in columns if isinstance(column, Numbers)]
    return REGRESSION, None, narrowed(numpy.stack(values, axis=1))


def _task(column: Texts) -> str:
    """Return what a target is taken for; see `csv_file`."""
    values = column.numbers()
    texts = [code for code, value in enumerate(values) if value is None]
    if 0 < len(texts) < len(values) / 2:
        text = [*column.found][texts[0]]
        raise Refusal(
            f"has numbers in the target {quoted(column.name)}, but {quoted(text)} in "
            f"{column.place(texts[0])}",
            f"correct the row, or pass `task={CLASSIFICATION!r}`",
        )
    if texts:
        return CLASSIFICATION
    different = {value for value in values if value is not None}
    are_few = len(different) <= _MOST_CLASSES or different == {*range(len(different))}
    is_repeated = 2 * len(different) <= len(column.codes())
    are_whole = all(value.is_integer() for value in different)
    return CLASSIFICATION if are_whole and are_few and is_repeated else REGRESSION


def _classes(column: Texts) -> tuple[str, ...]:
    """Return the names of the classes of a target."""
    values = column.numbers()
    if None not in values:
        for code, value in enumerate(values):
            if value is not None and not value.is_integer():
                raise Refusal(
                    f"has {quoted([*column.found][code])} for the target {quoted(column.name)} in "
                    f"{column.place(code)}, which is not a class",
                    f"pass `task={REGRESSION!r}`",
                )
    found = {as_class(text, value) for text, value in zip(column.found, values, strict=True)}
    if len(found) < 2:
        raise Refusal(f"has only one class in the target {quoted(column.name)}", "add rows of another class")
    if len(found) > MOST_LEVELS:
        raise Refusal(
            f"has {len(found)} classes in the target {quoted(column.name)}, but at most {MOST_LEVELS} can be "
            "told apart",
            "choose another target",
        )
    return _in_order(found)
