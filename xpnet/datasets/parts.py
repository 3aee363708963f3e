"""A folder of pictures that may have a training part and a test part."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.pictures import image_folder, is_picture, subfolders
from xpnet.errors import fitted

_TRAIN, _TEST = "train", "test"


def image_parts(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, channels: int | None = None
) -> tuple[Dataset, Dataset | None]:
    """Return the training set of a folder of pictures, and its test set or None.

    The folder has a subfolder for each class, or it has ``train`` and perhaps ``test`` with such subfolders.
    Both sets have the same classes, size and channels. Their name is the folder's absolute path, with links
    resolved.

    Parameters
    ----------
    path : path
    size, channels
        As of `image_folder`. If `channels` is omitted, the training set decides.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError
        If one of the parts is not as `image_folder` takes it, or they do not match.
    """
    folder = Path(path)
    if not _has_parts(folder):
        return image_folder(folder, size=size, channels=channels), None
    name = str(folder.resolve())
    train = dataclasses.replace(image_folder(folder / _TRAIN, size=size, channels=channels), name=name)
    if not _has_test(folder):
        return train, None
    test = image_folder(folder / _TEST, size=size, channels=train.images.shape[3])
    _check_match(folder, train, test)
    return train, dataclasses.replace(test, name=name)


def _has_parts(folder: Path) -> bool:
    """Return whether ``train`` has pictures in its subfolders only, so that it is not a class itself."""
    inner = folder / _TRAIN
    if not os.path.isdir(inner) or any(map(is_picture, inner.iterdir())):
        return False
    return any(map(is_picture, inner.rglob("*")))


def _has_test(folder: Path) -> bool:
    names = [place.name for place in subfolders(folder)]
    if _TEST not in names and len(names) > 1:
        others = ", ".join(repr(name) for name in names if name != _TRAIN)
        template = "folder {folder} has 'train', but no 'test': it has {others}; rename or remove what it has"
        raise ValueError(fitted(template, others=others, folder=repr(str(folder))))
    return _TEST in names


def _check_match(folder: Path, train: Dataset, test: Dataset) -> None:
    """Raise unless both parts have the same classes and sizes of images."""
    own, other = train.classes or (), test.classes or ()
    for names, rest, part in ((own, other, _TRAIN), (other, own, _TEST)):
        lone = [name for name in names if name not in rest]
        if lone:
            template = (
                "'train' and 'test' in {folder} have different classes: {lone} is only in {part}; "
                "give both the same subfolders"
            )
            raise ValueError(fitted(template, folder=repr(str(folder)), lone=repr(lone[0]), part=repr(part)))
    (_, *ours, _), (_, *theirs, _) = train.images.shape, test.images.shape
    if ours != theirs:
        template = (
            f"the pictures in {{folder}} have {ours[0]} x {ours[1]} pixels in 'train', but {theirs[0]} x "
            f"{theirs[1]} in 'test'; pass `size=(height, width)`, or `xpnet train --size`, to resize all"
        )
        raise ValueError(fitted(template, folder=repr(str(folder))))
