"""The data sets that commands use: MNIST, IDX files or folders of pictures."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from xpnet import datasets
from xpnet.cli.options import COUNT
from xpnet.datasets import Dataset
from xpnet.datasets.pictures import is_picture, subfolders
from xpnet.errors import fitted, shortened
from xpnet.problem import check_classes, class_count
from xpnet.run import Run

MNIST, IDX, IMAGES = "mnist", "idx", "images"  # the first is also the data set's own name
_IDX_FILES = "*idx[0-9]-ubyte*"
_MOST_NAMES_SHOWN = 8
Command = TypeVar("Command", bound=Callable[..., Any])


def data_options(command: Command) -> Command:
    """Add ``--dataset``, ``--data`` and ``--max-bytes``."""
    command = click.option(
        "--max-bytes",
        type=COUNT,
        metavar="N",
        help="The most bytes that an IDX file of --data may unpack to. [default: 256 MiB, or 32 times its "
        "size]",
    )(command)
    command = click.option(
        "--data",
        metavar="DIR",
        type=click.Path(path_type=pathlib.Path),
        help="Read the data set from a folder: four IDX files, gzipped or plain; or one subfolder of "
        "pictures for each class; or train and test with such subfolders. Without test, 20 % of the pictures "
        "of each class are the test images, always the same; evaluate and predict use all pictures of a "
        "folder that the model was not trained on.",
    )(command)
    return click.option(
        "--dataset",
        type=click.Choice([MNIST, IDX, IMAGES]),
        help="mnist is bundled; idx and images need --data. [default: what is in --data, else mnist]",
    )(command)


def image_size(value: str) -> tuple[int, int]:
    """Return the height and the width written as ``32,48``."""
    if not re.fullmatch(r"[1-9]\d{0,4},[1-9]\d{0,4}", value):
        raise click.BadParameter(f"{value!r} is no size; pass height and width as in 32,48")
    height, width = value.split(",")
    return int(height), int(width)


def find_kind(dataset: str | None, data: pathlib.Path | None, max_bytes: int | None) -> str:
    """Return which kind of data set the options name: one of the choices of ``--dataset``."""
    if data is None:
        if max_bytes is not None:
            raise click.UsageError("`--max-bytes` needs a folder of files: name it with `--data DIR`")
        if dataset in (IDX, IMAGES):
            raise click.UsageError(f"`--dataset {dataset}` reads a folder: name it with `--data DIR`")
        return MNIST
    if dataset == MNIST:
        raise click.UsageError(
            f"`--dataset {MNIST}` is bundled, and `--data` reads a folder; leave one of them out"
        )
    kind = dataset or _kind(data)
    if kind == IMAGES and max_bytes is not None:
        raise click.UsageError("`--max-bytes` is for IDX files, not for pictures; leave it out")
    return kind


def read_data(
    kind: str, data: pathlib.Path | None, max_bytes: int | None, size: tuple[int, int] | None = None
) -> tuple[Dataset, Dataset]:
    """Return the training and the test set; pictures to train on are shuffled, because they are sorted."""
    if data is None or kind != IMAGES:
        found = datasets.mnist() if data is None else datasets.idx_folder(data, max_bytes=max_bytes)
        if size is not None:
            raise click.UsageError("`--size` is for folders of pictures; leave it out")
        return found
    training, testing = datasets.image_parts(data, size=size)
    return datasets.split(training) if testing is None else (datasets.shuffled(training), testing)


def read_test(run: Run, dataset: str | None, data: pathlib.Path | None, max_bytes: int | None) -> Dataset:
    """Return the test set that the options name, by default MNIST's unless the model knows another one."""
    kind = find_kind(dataset, data, max_bytes)
    name = None if run.inputs is None else run.inputs.name
    if name not in (None, MNIST) and dataset is None and data is None:
        template = (
            f"the model was trained on {{name}}, not on {MNIST}; pass `--data {{folder}}`, "
            f"or `--dataset {MNIST}` to use that anyway"
        )
        folder = shlex.quote(name) if os.path.isabs(name) else "DIR"
        raise click.UsageError(fitted(template, name=repr(name), folder=folder))
    if kind == IMAGES and data is not None:
        test = _test_pictures(run, data)
    else:
        _, test = read_data(kind, data, max_bytes)
    if run.inputs is not None and name != test.name:
        known = "data without a name" if name is None else shortened(repr(name), 100)
        click.echo(f"note: the model was trained on {known}, but this is {test.name!r}")
    return test


def _test_pictures(run: Run, data: pathlib.Path) -> Dataset:
    """Return the test pictures of a folder, of the size and with the channels that the model takes.

    Without a test part, they are the pictures that a training on this folder leaves out, or all pictures of
    another folder.
    """
    shape = None if run.inputs is None else run.inputs.shape
    size, channels = (shape[:2], shape[2]) if shape else (None, None)
    found, test = datasets.image_parts(data, size=size, channels=channels)
    if test is None:
        seen = run.inputs is not None and run.inputs.name == found.name
        test = datasets.split(found)[1] if seen else found
    check_classes("dataset", test.classes, run.classes)
    names, classes = test.classes or (), class_count(run.model, test.images.shape[1:])
    if len(names) != classes:
        template = (
            "the model has {classes} classes, but {folder} has {n}: {names}; pass a folder with as many"
        )
        listed = ", ".join(map(repr, names))
        raise ValueError(
            fitted(template, names=listed, folder=repr(str(data)), n=len(names), classes=classes)
        )
    return test


def _kind(folder: pathlib.Path) -> str:
    """Return whether a folder has IDX files or pictures, or raise if it has neither."""
    if not os.path.isdir(folder):
        return IDX  # Reading it raises an error that says so.
    if any(folder.glob(_IDX_FILES)):
        return IDX
    if any(is_picture(path) for inner in subfolders(folder) for path in inner.rglob("*")):
        return IMAGES
    if any(any(folder.glob(depth + _IDX_FILES)) for depth in ("*/", "*/*/")):
        return IDX  # Reading it raises an error that names the right folder.
    template = (
        "folder {folder} has neither four IDX files nor a subfolder of pictures for each class: it "
        "{listing}; pass another folder"
    )
    raise ValueError(fitted(template, listing=_listing(folder), folder=repr(str(folder))))


def _listing(folder: pathlib.Path) -> str:
    names = sorted(place.name + "/" * place.is_dir() for place in folder.iterdir())
    more = len(names) - _MOST_NAMES_SHOWN
    shown = ", ".join(map(repr, names[:_MOST_NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")
    return f"has {shown}" if names else "is empty"
