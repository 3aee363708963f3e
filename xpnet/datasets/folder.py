"""A folder of four IDX files, by the names that MNIST and the sets made in its likeness use."""

import os
from collections.abc import Iterable
from pathlib import Path

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.idx import read_idx

_MOST_NAMES_SHOWN = 8
_KINDS = [(stem, kind) for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
_DEEPEST = 2  # folders within folders that are looked into for an error: torchvision has MNIST/raw


def idx_folder(path: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Return the training set and the test set that a folder of four IDX files holds.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or gzipped. A name may have
    ``.idx`` for ``-idx``, and end in ``.gz``; where several fit, one without ``.gz`` is read.

    Parameters
    ----------
    path : path

    Returns
    -------
    train, test : Dataset
        Images of shape (n, rows * columns), uint8. Their name is the absolute path of the folder, links
        resolved.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is not there.
    NotADirectoryError
        If `path` is a file.
    ValueError
        If a file is damaged, or does not fit the others.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"`path` {str(path)!r} is not there; pass a folder of IDX files")
    if not folder.is_dir():
        raise NotADirectoryError(
            f"`path` {str(path)!r} is a file; pass the folder that holds the four IDX files"
        )
    # All are looked for before one is read, so that a missing file is known at once.
    train_images, train_labels, test_images, test_labels = (_find(folder, *kind) for kind in _KINDS)
    name = str(folder.resolve())
    train = _read_pair(train_images, train_labels, name)
    test = _read_pair(test_images, test_labels, name)
    n_train, n_test = train.images.shape[1], test.images.shape[1]
    if n_train != n_test:
        raise ValueError(
            f"the images of {str(train_images)!r} have {n_train} pixels each, those of "
            f"{str(test_images)!r} have {n_test}; pass sets of one image size"
        )
    return train, test


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = _names(stem, kind)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"folder {str(folder)!r} has no file {', '.join(map(repr, names[:-1]))} or {names[-1]!r}: "
        f"{_listing(folder)}; {_advice(folder, names)}"
    )


def _names(stem: str, kind: str) -> tuple[str, ...]:
    plain = f"{stem}-{kind}-ubyte"
    dotted = plain.replace("-idx", ".idx")
    return plain, dotted, f"{plain}.gz", f"{dotted}.gz"


def _advice(folder: Path, names: Iterable[str]) -> str:
    """Return what to do where `folder` has none of the files `names`."""
    for depth in range(1, _DEEPEST + 1):
        for inner in sorted(folder.glob("/".join("*" * depth))):
            if all(any((inner / name).is_file() for name in _names(*kind)) for kind in _KINDS):
                return f"all four files are in {str(inner)!r}: pass that folder"
    for inner in folder.glob("*"):
        file = next((inner / name for name in names if (inner / name).is_file()), None)
        if file is not None:
            return f"it is in {str(inner)!r}: move the four files into one folder, and pass that"
    return "add the file or correct its name"


def _listing(folder: Path) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return "it is empty"
    shown = ", ".join(map(repr, names[:_MOST_NAMES_SHOWN]))
    more = len(names) - _MOST_NAMES_SHOWN
    return f"it has {shown}" + (f" and {more} more" if more > 0 else "")


def _read_pair(images_path: Path, labels_path: Path, name: str) -> Dataset:
    images = read_idx(images_path, ndim=3)  # (n, rows, columns)
    labels = read_idx(labels_path, ndim=1)
    if len(images) != len(labels):
        raise ValueError(
            f"{str(images_path)!r} holds {len(images)} images, but {str(labels_path)!r} holds "
            f"{len(labels)} labels; pass files that belong together"
        )
    return Dataset(images.reshape(len(images), -1), labels, name=name)  # (n, rows * columns)
