"""What kind of data a path has, and the pictures that a saved model is tested on."""

from __future__ import annotations

import os
import pathlib

from xpnet import datasets
from xpnet.datasets import Dataset
from xpnet.datasets.pictures import is_picture, subfolders
from xpnet.errors import fitted
from xpnet.problem import aligned, class_count
from xpnet.run import Run

MNIST, IDX, IMAGES = "mnist", "idx", "images"  # the first is also the data set's own name
CSV, NPZ = "csv", "npz"
_OF_TABLES = ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt"
_IDX_FILES = "*idx[0-9]-*"
_MOST_NAMES_SHOWN = 8


def pictures_to_test(run: Run, data: pathlib.Path) -> Dataset:
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
    test = aligned("dataset", test, run.classes)
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


def data_kind(path: pathlib.Path) -> str:
    """Return what a path has: a table, an archive of arrays, or what is in a folder."""
    if os.path.isdir(path):
        return folder_kind(path)
    if path.name.lower().endswith(f".{NPZ}"):
        return NPZ
    if path.name.lower().endswith(_OF_TABLES):
        return CSV
    return IDX  # Reading it raises an error that says so.


def folder_kind(folder: pathlib.Path) -> str:
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
