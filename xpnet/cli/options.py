"""Options that commands share, and the types of their values."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import numpy

from xpnet import datasets
from xpnet.cli.data import CSV, IDX, IMAGES, MNIST, NPZ, data_kind, pictures_to_test
from xpnet.cli.outputs import Outputs
from xpnet.cli.ranks import is_silent
from xpnet.cli.tables import TableOptions, archive_to_test, read_archive, read_table, table_to_test
from xpnet.datasets import Dataset
from xpnet.errors import fitted, shortened
from xpnet.files import check_writable, json_text, open_file, write_whole
from xpnet.run import Run

_STDOUT = 1  # the number of the open file
Command = TypeVar("Command", bound=Callable[..., Any])


COUNT = click.IntRange(min=1)


def output_path(value: str) -> pathlib.Path:
    """Return the path of a file that can be written; checked before the work that produces it."""
    path = pathlib.Path(value)
    if is_silent():
        return path  # It is written by another process, perhaps on another machine.
    cannot = f"cannot write {shortened(repr(value), 100)}: "
    if not value or os.path.isdir(path):
        raise click.BadParameter(f"{cannot}it is not a file; name one")
    folder = shortened(repr(str(path.parent)), 100)
    if os.path.exists(path.parent) and not os.path.isdir(path.parent):
        raise click.BadParameter(f"{cannot}{folder} is not a folder; choose another place")
    if not os.path.isdir(path.parent):
        raise click.BadParameter(f"{cannot}there is no folder {folder}; create it first")
    try:
        check_writable(path)
    except OSError as e:
        raise click.BadParameter(str(e)) from e
    return path


def output_option(name: str, *names: str, what: str, **others: Any) -> Callable[[Command], Command]:
    """Add an option that names an output file; if that is standard output, nothing else is written to it."""
    return click.option(
        name, *names, metavar="PATH", type=output_path, callback=set_aside, help=what, **others
    )


def set_aside(
    context: click.Context, parameter: click.Parameter, path: pathlib.Path | None
) -> pathlib.Path | None:
    """Return `path`; if it is standard output, send everything else to standard error."""
    if path is not None and open_file(path) == _STDOUT:
        context.with_resource(contextlib.redirect_stdout(sys.stderr))
    return path


def check_distinct(*reads: pathlib.Path | None, **outputs: pathlib.Path | None) -> None:
    """Raise unless all options name different files, and none of those that the command reads."""
    named = {option: _place(path) for option, path in outputs.items() if path is not None}
    read = {_place(path) for path in reads if path is not None}
    for option, place in named.items():
        if place in read:
            raise click.UsageError(
                f"`--{option}` names {str(outputs[option])!r}, which is read and would be replaced; name "
                "another file"
            )
    if len(set(named.values())) < len(named):
        options = ", ".join(f"`--{option}`" for option in named)
        raise click.UsageError(f"{options} name the same file; name a different one for each")


def _place(path: pathlib.Path) -> int | str:
    """Return what identifies a file: the number of an open one, else its real path."""
    number = open_file(path)
    return os.path.realpath(path) if number is None else number


def backend_option(command: Command) -> Command:
    """Add ``--backend``."""
    return click.option(
        "--backend",
        metavar="NAME",
        help="numpy, numba, cupy, cupy:1, ... [default: $XPNET_BACKEND, else numpy]",
    )(command)


def data_options(command: Command) -> Command:
    """Add ``--dataset``, ``--data`` and ``--max-bytes``."""
    command = click.option(
        "--max-bytes",
        type=COUNT,
        metavar="N",
        help="The most bytes that a file of --data may unpack to, if it has no pictures. [default: 256 MiB, "
        "or 32 times its size]",
    )(command)
    command = click.option(
        "--data",
        metavar="PATH",
        type=click.Path(path_type=pathlib.Path),
        help="Read the data set from a folder: four IDX files, gzipped or plain; or one subfolder of "
        "pictures for each class; or train and test with such subfolders. Or from a table, a CSV file with a "
        "header; or from an .npz file with x and y, or x_train, y_train, x_test and y_test. Without a test "
        "part, 20 % of the pictures of each class are the test images, always the same, and 20 % of the rows "
        "likewise; evaluate and predict use all samples of a path that the model was not trained on.",
    )(command)
    return click.option(
        "--dataset",
        type=click.Choice([MNIST, IDX, IMAGES, CSV, NPZ]),
        help="mnist is bundled; the others need --data. [default: what is in --data, else mnist]",
    )(command)


def image_size(value: str) -> tuple[int, int]:
    """Return the height and the width written as ``32,48``."""
    if not re.fullmatch(r"[1-9]\d{0,4},[1-9]\d{0,4}", value):
        raise click.BadParameter(f"{value!r} is no size; pass height and width as in 32,48")
    height, width = value.split(",")
    return int(height), int(width)


def json_option(what: str) -> Callable[[Command], Command]:
    """Add ``--json``, which writes `what`."""
    return output_option("--json", "json_path", what=f"Write {what}.")


def find_kind(dataset: str | None, data: pathlib.Path | None, max_bytes: int | None) -> str:
    """Return which kind of data set the options name: one of the choices of ``--dataset``."""
    if data is None:
        if max_bytes is not None:
            raise click.UsageError("`--max-bytes` needs a folder of files: name it with `--data DIR`")
        if dataset in (IDX, IMAGES):
            raise click.UsageError(f"`--dataset {dataset}` reads a folder: name it with `--data DIR`")
        if dataset in (CSV, NPZ):
            raise click.UsageError(f"`--dataset {dataset}` reads a file: name it with `--data PATH`")
        return MNIST
    if dataset == MNIST:
        raise click.UsageError(
            f"`--dataset {MNIST}` is bundled, and `--data` reads a folder; leave one of them out"
        )
    kind = dataset or data_kind(data)
    if dataset is None and kind not in (CSV, NPZ) and data.is_file():
        raise click.UsageError(
            f"`--data` names the file {data.name!r}, which ends neither in .csv nor in .npz; save a "
            f"spreadsheet as CSV, or say what the file is, as in `--dataset {CSV}`"
        )
    if kind == IMAGES and max_bytes is not None:
        raise click.UsageError("`--max-bytes` is for IDX files, not for pictures; leave it out")
    return kind


def read_data(
    kind: str,
    data: pathlib.Path | None,
    max_bytes: int | None,
    size: tuple[int, int] | None = None,
    table: TableOptions | None = None,
) -> tuple[Dataset, Dataset]:
    """Return the training and the test set; pictures to train on are shuffled, because they are sorted."""
    table = table or TableOptions()
    table.check(is_table=kind == CSV)
    if data is None:
        return datasets.mnist()
    if kind == CSV:
        return read_table(data, table, max_bytes)
    if kind == NPZ:
        return read_archive(data, max_bytes)
    if kind == IDX:
        return datasets.idx_folder(data, max_bytes=max_bytes)
    training, testing = datasets.image_parts(data, size=size)
    return datasets.split(training) if testing is None else (datasets.shuffled(training), testing)


def read_test(run: Run, dataset: str | None, data: pathlib.Path | None, max_bytes: int | None) -> Dataset:
    """Return the test set that the options name, by default MNIST's unless the model knows another one."""
    found: Any = read_inputs(run, dataset, data, max_bytes, targets=True)
    return found


def read_inputs(
    run: Run,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    *,
    targets: bool | None = None,
) -> Dataset | numpy.ndarray:
    """Return the test set that the options name; of a table without a target, which may be needed, inputs."""
    kind = find_kind(dataset, data, max_bytes)
    name = None if run.inputs is None else run.inputs.name
    if name not in (None, MNIST) and dataset is None and data is None:
        template = (
            f"the model was trained on {{name}}, not on {MNIST}; pass `--data {{folder}}`, "
            f"or `--dataset {MNIST}` to use that anyway"
        )
        folder = shlex.quote(name) if os.path.isabs(name) else "DIR"
        raise click.UsageError(fitted(template, name=repr(name), folder=folder))
    test = _test_set(run, kind, data, max_bytes, targets)
    if not isinstance(test, Dataset):
        return test
    if run.inputs is not None and name != test.name:
        known = "data without a name" if name is None else shortened(repr(name), 100)
        click.echo(f"note: the model was trained on {known}, but this is {test.name!r}")
    return test


def _test_set(
    run: Run, kind: str, data: pathlib.Path | None, max_bytes: int | None, targets: bool | None
) -> Dataset | numpy.ndarray:
    if data is not None and kind == IMAGES:
        return pictures_to_test(run, data)
    if data is not None and kind == CSV:
        return table_to_test(run, data, max_bytes, targets=targets)
    if data is not None and kind == NPZ:
        return archive_to_test(run, data, max_bytes)
    return read_data(kind, data, max_bytes)[1]


def written_json(path: pathlib.Path | None, value: Any) -> Outputs:
    """Return the outcome of writing `value` as indented JSON; without a path, nothing is written."""
    outputs = Outputs()
    outputs.write("wrote", path, lambda place: write_whole(place, json_bytes(value)))
    return outputs


def json_bytes(value: Any) -> bytes:
    """Return `value` as indented JSON, with null for numbers that are not finite."""
    return (json_text(value, indent=2) + "\n").encode()
