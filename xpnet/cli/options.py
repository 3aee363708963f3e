"""Options that commands share, and the kinds of values that they take."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from xpnet import datasets
from xpnet.datasets import Dataset

Command = TypeVar("Command", bound=Callable[..., Any])


def output_path(value: str) -> pathlib.Path:
    """Return the path of a file that can be written; asked before the work whose result it is to hold."""
    path = pathlib.Path(value)
    if path.is_dir():
        raise click.BadParameter(f"cannot write {value!r}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise click.BadParameter(
            f"cannot write {value!r}: there is no folder {str(path.parent)!r}; make it first"
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"cannot write {value!r}: it is read-only; choose another place")
    return path


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


def write_json(path: pathlib.Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
