"""Options that commands share, and the kinds of values that they take."""

from __future__ import annotations

import os
import pathlib
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from xpnet import datasets
from xpnet.cli.outputs import Outputs
from xpnet.datasets import Dataset
from xpnet.files import check_writable, json_text, write_whole
from xpnet.inputs import Inputs

MNIST = "mnist"  # the bundled data set, as it is called here and by itself
Command = TypeVar("Command", bound=Callable[..., Any])


def output_path(value: str) -> pathlib.Path:
    """Return the path of a file that can be written; tried before the work whose result it is to hold."""
    path = pathlib.Path(value)
    cannot = f"cannot write {value!r}: "
    if not value or path.is_dir():
        raise click.BadParameter(f"{cannot}it is no file; name one")
    if path.parent.exists() and not path.parent.is_dir():
        raise click.BadParameter(f"{cannot}{str(path.parent)!r} is no folder; choose another place")
    if not path.parent.is_dir():
        raise click.BadParameter(f"{cannot}there is no folder {str(path.parent)!r}; make it first")
    try:
        check_writable(path)
    except OSError as e:
        raise click.BadParameter(str(e)) from e
    return path


def check_distinct(**outputs: pathlib.Path | None) -> None:
    """Raise unless the files named by options differ from each other."""
    named = {option: path.resolve() for option, path in outputs.items() if path is not None}
    if len(set(named.values())) < len(named):
        options = ", ".join(f"`--{option}`" for option in named)
        raise click.UsageError(f"{options} name one file twice; name one for each")


def backend_option(command: Command) -> Command:
    """Add ``--backend``."""
    return click.option(
        "--backend",
        metavar="NAME",
        help="numpy, numba, cupy, cupy:1, ... [default: $XPNET_BACKEND, else numpy]",
    )(command)


def data_options(command: Command) -> Command:
    """Add ``--dataset`` and ``--data``."""
    command = click.option(
        "--data",
        metavar="DIR",
        type=click.Path(path_type=pathlib.Path),
        help="Read the data set from a folder of four IDX files, gzip or plain.",
    )(command)
    return click.option(
        "--dataset",
        type=click.Choice(["mnist", "idx"]),
        help="mnist is bundled; idx needs --data. [default: idx with --data, else mnist]",
    )(command)


def json_option(what: str) -> Callable[[Command], Command]:
    """Add ``--json``, which writes `what`."""
    return click.option("--json", "json_path", metavar="PATH", type=output_path, help=f"Write {what}.")


def read_data(dataset: str | None, data: pathlib.Path | None) -> tuple[Dataset, Dataset]:
    """Return the training and the test set that ``--dataset`` and ``--data`` name."""
    if data is not None:
        return datasets.idx_folder(data)
    if dataset == "idx":
        raise click.UsageError("`--dataset idx` reads a folder: name it with `--data DIR`")
    return datasets.mnist()


def read_test(inputs: Inputs | None, dataset: str | None, data: pathlib.Path | None) -> Dataset:
    """Return the test set that the options name, or, without them, MNIST's unless the model knows another."""
    name = None if inputs is None else inputs.name
    if name not in (None, MNIST) and dataset is None and data is None:
        folder = shlex.quote(name) if os.path.isabs(name) else "DIR"
        raise click.UsageError(
            f"the model was trained on {name!r}, not on {MNIST}; pass `--data {folder}`, "
            f"or `--dataset {MNIST}` if it is to see that all the same"
        )
    _, test = read_data(dataset, data)
    if inputs is not None and name != test.name:
        known = "data without a name" if name is None else repr(name)
        click.echo(f"note: the model was trained on {known}, and this is {test.name!r}")
    return test


def write_json(path: pathlib.Path, value: Any) -> None:
    """Write `value` as indented JSON; where that fails, elsewhere, with an error that says where."""
    outputs = Outputs()
    outputs.write("wrote", path, lambda place: write_whole(place, json_bytes(value)))
    outputs.check()


def json_bytes(value: Any) -> bytes:
    """Return `value` as indented JSON, in which null stands for a number that is not finite."""
    return (json_text(value, indent=2) + "\n").encode()
