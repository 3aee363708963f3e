"""Tables and archives on the command line: the options, and what is read by them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import click
import numpy

from xpnet import datasets
from xpnet.datasets import Dataset
from xpnet.datasets.encoding import TASKS
from xpnet.errors import fitted
from xpnet.run import Run

_ALL = "*"
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """What the options say of a table.

    Attributes
    ----------
    target : tuple of str
    one_hot : tuple of str
        Names of columns; ``"*"`` for all columns of text.
    task : str or None
    """

    target: tuple[str, ...] = ()
    one_hot: tuple[str, ...] = ()
    task: str | None = None

    def check(self, *, is_table: bool) -> None:
        """Raise unless there is a target for a table, and no option for anything else."""
        if is_table and not self.target:
            raise click.UsageError("a table needs the column to learn: name it with `--target COLUMN`")
        given = [name for name, value in dataclasses.asdict(self).items() if value]
        if given and not is_table:
            raise click.UsageError(f"`--{given[0].replace('_', '-')}` is for tables, CSV files; leave it out")

    def about(self) -> dict[str, Any]:
        """Return what was given, as JSON."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}


def table_options(command: Command) -> Command:
    """Add ``--target``, ``--one-hot`` and ``--task``."""
    command = click.option(
        "--task",
        type=click.Choice(TASKS),
        help="Whether the target of a table has classes or numbers. [default: text means classes, and so do "
        "few different whole numbers]",
    )(command)
    command = click.option(
        "--one-hot",
        metavar="[COLUMN]",
        multiple=True,
        is_flag=False,
        flag_value=_ALL,
        help="Turn a column of text into columns of 0 and 1, one for each text; may be repeated. Without a "
        "name, all columns of text.",
    )(command)
    return click.option(
        "--target",
        metavar="COLUMN",
        multiple=True,
        help="The column of a table to learn; repeat it for several, which must be numbers.",
    )(command)


def read_table(data: pathlib.Path, options: TableOptions, max_bytes: int | None) -> tuple[Dataset, Dataset]:
    """Return the training and the test part of a table, always the same 20 % for the test."""
    one_hot = True if _ALL in options.one_hot else options.one_hot
    found = datasets.csv_file(
        data, target=options.target, one_hot=one_hot, task=options.task, max_bytes=max_bytes
    )
    return found.split()


def read_archive(data: pathlib.Path, max_bytes: int | None) -> tuple[Dataset, Dataset]:
    """Return the training and the test part of an archive; without the latter, 20 % are split off."""
    train, test = datasets.npz_parts(data, max_bytes=max_bytes)
    return train.split() if test is None else (train, test)


def table_to_test(
    run: Run, data: pathlib.Path, max_bytes: int | None, *, targets: bool | None
) -> Dataset | numpy.ndarray:
    """Return the rows of a table to test a model on; only inputs, if they have no target and need none.

    They are those that a training on this table leaves out, or all rows of another table.
    """
    if run.encoding is None:
        template = "the model was not trained on a table, so it cannot read {path}; pass data like its own"
        raise ValueError(fitted(template, path=repr(str(data))))
    found = run.encoding.read(data, targets=targets, max_bytes=max_bytes)
    return left_out(run, found) if isinstance(found, Dataset) else found


def archive_to_test(run: Run, data: pathlib.Path, max_bytes: int | None) -> Dataset:
    """Return the test part of an archive; without one, what training leaves out, or all of another one."""
    train, test = datasets.npz_parts(data, max_bytes=max_bytes)
    return left_out(run, train) if test is None else test


def left_out(run: Run, found: Dataset) -> Dataset:
    """Return the part of a data set that training on it leaves out for the test; all of another one."""
    return found.split()[1] if run.inputs is not None and run.inputs.name == found.name else found
