"""A folder of pictures: one subfolder for each class."""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy

from xpnet import checks
from xpnet.datasets.dataset import Dataset
from xpnet.errors import fitted

SUFFIXES = ".png .jpg .jpeg .bmp .gif .webp .tif .tiff .ppm .pgm .pbm".split()  # noqa: SIM905
_GREY = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def image_folder(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, channels: int | None = None
) -> Dataset:
    """Return the pictures of a folder that has one subfolder for each class.

    Classes are numbered in the order of their names, and pictures follow one another in the order of class
    and path. Files with other suffixes than those of pictures, and hidden ones, are ignored. Pictures are
    turned as their EXIF data say. Transparent pixels are laid over white, unless `channels` is 4. Greys of 16
    bits are rounded to 8.

    Parameters
    ----------
    path : path
    size : (height, width), optional
        Pictures are resized to it, whatever their proportions. If omitted, all must have one size.
    channels : {1, 3, 4}, optional
        Grey, RGB or RGB with alpha. If omitted, 1 if all pictures are grey, else 3.

    Returns
    -------
    dataset : Dataset
        Images of shape (n, height, width, channels), uint8, with the names of the classes.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError
        If there are fewer than two classes, one is empty, a picture is damaged, or sizes differ.
    """
    image = pillow()
    if channels not in (None, *_MODES):
        raise ValueError(f"`channels` must be 1, 3 or 4, got {channels!r}")
    if size is not None and (len(checks.shape(size)) != 2 or 0 in size):
        raise ValueError(f"`size` must be (height, width), both above 0, got {size!r}")
    folder = Path(path)
    found = _classes(folder)
    places = [(place, label) for label, places in enumerate(found.values()) for place in places]
    if channels is None:
        channels = 1 if all(_opened(image, place, _is_grey) for place, _ in places) else 3
    first = places[0][0]
    images: numpy.ndarray[Any, Any] = numpy.empty(0, numpy.uint8)
    for i, (place, _) in enumerate(places):
        pixels = _opened(image, place, lambda picture: pixels_of(image, picture, size, channels))
        if i == 0:
            images = numpy.empty((len(places), *pixels.shape), numpy.uint8)
        if pixels.shape != images.shape[1:]:
            template = (
                f"{{first}} has {images.shape[1]} x {images.shape[2]} pixels, but {{other}} has "
                f"{pixels.shape[0]} x {pixels.shape[1]}; pass `size=(height, width)`, or `xpnet "
                "train --size`, to resize all"
            )
            raise ValueError(fitted(template, first=repr(str(first)), other=repr(str(place))))
        images[i] = pixels
    labels = numpy.array([label for _, label in places], numpy.int32)
    return Dataset(images, labels, name=str(folder.resolve()), classes=tuple(found))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of each class, by its name."""
    if not folder.is_dir():
        raise NotADirectoryError(
            f"there is no folder {str(folder)!r}; pass one with a subfolder for each class"
        )
    inner = subfolders(folder)
    if len(inner) < 2:
        found_only = f"only the subfolder {inner[0].name!r}" if inner else "0 subfolders"
        template = (
            "folder {folder} has {found}; put the pictures of each class into a subfolder, at least two"
        )
        raise ValueError(fitted(template, folder=repr(str(folder)), found=found_only))
    found = {p.name: sorted(filter(is_picture, p.rglob("*"))) for p in inner}
    empty = [name for name, places in found.items() if not places]
    if empty:
        template = f"folder {{folder}} has no picture; add some ({', '.join(SUFFIXES)}) or remove it"
        raise ValueError(fitted(template, folder=repr(str(folder / empty[0]))))
    return found


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders that are not hidden, in the order of their names."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def is_picture(path: Path) -> bool:
    """Return whether a path is a file with a picture's suffix, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _opened(image: Any, place: Path, use: Any) -> Any:
    """Return ``use(picture)``; errors name the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image.DecompressionBombWarning)
            with image.open(place) as picture:
                return use(picture)
    except PermissionError:
        raise
    except Exception as e:  # Pillow raises errors of many kinds for damaged files.
        template = "cannot read the picture {path}: {reason}; repair it or remove it"
        raise ValueError(fitted(template, path=repr(str(place)), reason=str(e) or type(e).__name__)) from e


def _is_grey(picture: Any) -> bool:
    return picture.mode in _GREY


def pixels_of(image: Any, picture: Any, size: tuple[int, int] | None, channels: int | None) -> numpy.ndarray:
    """Return the pixels of a picture, shape (height, width, channels), uint8."""
    picture = importlib.import_module("PIL.ImageOps").exif_transpose(picture)
    if picture.mode.startswith("I"):
        values = numpy.asarray(picture).astype(numpy.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values are {values.min()} to {values.max()}, beyond 16 bits")
        picture = image.fromarray(((values + 128) // 257).astype(numpy.uint8))
    if channels != 4 and ("A" in picture.mode or "transparency" in picture.info):
        picture = picture.convert("RGBA")
        picture = image.alpha_composite(image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert(_MODES[channels or 3])
    if size is not None:
        height, width = size
        picture = picture.resize((width, height), image.Resampling.BILINEAR)
    pixels = numpy.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)


def pillow() -> Any:
    """Return the module ``PIL.Image``, or raise an ImportError that says how to install it."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as e:
        raise ImportError(f"pictures need Pillow: {e}; install it with `pip install 'xpnet[images]'`") from e
