"""A folder of four IDX files, named as for MNIST and its drop-in replacements."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.idx import TYPES, WHOLE_TYPES, read_idx
from xpnet.errors import fitted

_MOST_NAMES_SHOWN = 8
_KINDS = [(stem, kind) for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
_SUFFIXES = "ubyte", "byte", "short", "int", "float", "double"
_NDIMS = 3, 2, 4  # of images; the first is that of MNIST
_DEEPEST = 2  # depth of subfolders that an error searches: torchvision has MNIST/raw


def idx_folder(
    path: str | bytes | os.PathLike[Any], *, max_bytes: int | None = None
) -> tuple[Dataset, Dataset]:
    """Return the training set and the test set from a folder of four IDX files.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or gzipped. A name may have
    ``.idx`` instead of ``-idx``, and end in ``.gz``; if several match, one without ``.gz`` is read.

    Images may have 2 to 4 dimensions, (n, features), (n, rows, columns) or (n, rows, columns, channels), with
    ``idx2`` or ``idx4`` in the name. Names of files with other numbers end in ``byte``, ``short``, ``int``,
    ``float`` or ``double``; what counts is the header.

    Parameters
    ----------
    path : path
    max_bytes : int, optional
        Limit for each file, unpacked. If omitted, a gzipped file may unpack to 256 MiB, or to 32 times its
        own size if that is more; a plain file has no limit.

    Returns
    -------
    train, test : Dataset
        Images of shape (n, rows * columns), or of 4 dimensions as they are. They are uint8, float32 or
        float64; signed whole numbers, such as pixels of 16 bits, become float32 and are divided by the
        largest of their type. Their name is the folder's absolute path, with links resolved.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files does not exist.
    NotADirectoryError
        If `path` is a file.
    OSError
        If a file cannot be read.
    ValueError
        If a file is damaged, is larger than `max_bytes`, or does not fit the others.
    """
    folder = _folder(os.fsdecode(path))
    # All files are found before any is read, so that a missing one is reported at once.
    train_images, train_labels, test_images, test_labels = (_find(folder, *kind) for kind in _KINDS)
    name = str(folder.resolve())
    train = _read_pair(train_images, train_labels, name, max_bytes)
    test = _read_pair(test_images, test_labels, name, max_bytes)
    of_train, of_test = train.images.shape[1:], test.images.shape[1:]
    if of_train != of_test:
        found = [f"{n[0]} pixels each" if len(n) == 1 else f"the shape {n}" for n in (of_train, of_test)]
        template = (
            f"the images of {{train}} have {found[0]}, those of {{test}} have "
            f"{found[1].removesuffix(' pixels each')}; pass sets of one image size"
        )
        raise ValueError(fitted(template, train=repr(str(train_images)), test=repr(str(test_images))))
    return train, test


def _folder(path: str) -> Path:
    if not os.path.exists(path):
        template = "`path` {path} does not exist; pass a folder of IDX files"
        raise FileNotFoundError(fitted(template, path=repr(path)))
    if not os.path.isdir(path):
        template = "`path` {path} is a file; pass the folder with the four IDX files"
        raise NotADirectoryError(fitted(template, path=repr(path)))
    return Path(path)


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = _names(stem, kind)
    for name in (*names, *_other_names(stem, kind)):
        if os.path.isfile(folder / name):
            return folder / name
    advice, place = _advice(folder, names)
    # If the file is found elsewhere, only one spelling is named, to leave room for the place.
    wanted = repr(names[0]) if place else f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
    template = f"folder {{folder}} has no file {wanted}: {{listing}}; {advice}"
    raise FileNotFoundError(
        fitted(template, folder=repr(str(folder)), listing=_listing(folder), place=repr(place))
    )


def _other_names(stem: str, kind: str) -> Iterator[str]:
    """Yield the names of files with other numbers of dimensions or types of numbers."""
    part, _, ndim = kind.partition("-idx")
    for suffix in _SUFFIXES:
        for n in _NDIMS if part == "images" else [ndim]:
            yield from _names(stem, f"{part}-idx{n}", suffix)


def _names(stem: str, kind: str, suffix: str = "ubyte") -> tuple[str, ...]:
    plain = f"{stem}-{kind}-{suffix}"
    dotted = plain.replace("-idx", ".idx")
    return plain, dotted, f"{plain}.gz", f"{dotted}.gz"


def _advice(folder: Path, names: Iterable[str]) -> tuple[str, str | None]:
    """Return what to do if `folder` has none of `names`, and the subfolder that has them, or None."""
    for depth in range(1, _DEEPEST + 1):
        for inner in sorted(folder.glob("/".join("*" * depth))):
            if all(any(os.path.isfile(inner / name) for name in _names(*kind)) for kind in _KINDS):
                return "all four files are in {place}: pass that folder", str(inner)
    for inner in folder.glob("*"):
        if any(os.path.isfile(inner / name) for name in names):
            return "it is in {place}: move the four files into one folder and pass that", inner.name
    return "add the file or correct its name", None


def _listing(folder: Path) -> str:
    try:
        names = sorted(entry.name + "/" * os.path.isdir(entry) for entry in folder.iterdir())
    except OSError as e:
        return f"it cannot be listed ({e.strerror})"
    if not names:
        return "it is empty"
    shown = ", ".join(map(repr, names[:_MOST_NAMES_SHOWN]))
    more = len(names) - _MOST_NAMES_SHOWN
    return f"it has {shown}" + (f" and {more} more" if more > 0 else "")


def _read_pair(images_path: Path, labels_path: Path, name: str, max_bytes: int | None) -> Dataset:
    images = read_idx(images_path, ndim=_NDIMS, dtypes=[*TYPES.values()], max_bytes=max_bytes)
    labels = read_idx(labels_path, ndim=1, dtypes=WHOLE_TYPES, max_bytes=max_bytes)
    if len(images) != len(labels):
        template = (
            f"{{images}} holds {len(images)} images, but {{labels}} holds {len(labels)} labels; "
            "pass files that belong together"
        )
        raise ValueError(fitted(template, images=repr(str(images_path)), labels=repr(str(labels_path))))
    if images.dtype.kind == "i":
        images = (images / numpy.iinfo(images.dtype).max).astype(numpy.float32)
    # (n, rows * columns), but channels stay apart.
    return Dataset(images if images.ndim == 4 else images.reshape(len(images), -1), labels, name=name)
