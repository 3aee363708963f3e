"""Files of pictures as arrays, without copies of a large picture beside the one that Pillow decodes."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import numpy as np

from xpnet.datasets.pictures import pillow, pixels_of
from xpnet.errors import fitted
from xpnet.files import to_read
from xpnet.handwriting.greys import LARGEST
from xpnet.handwriting.preparing import prepared

MOST_PIXELS = 64_000_000
"""Most pixels of a picture.

Decoded, they take 256 MB. Of 8000 x 8000 pixels in a PNG, TIFF, BMP, GIF or JPEG file, `read` takes up to
280 MB and `whole` up to 520 MB, as measured; Pillow takes 1 GB to decode them from a WebP file.
"""
_SEVERAL = "MPO"  # what phones write: a JPEG that has others, such as a depth map, behind it
_SIXTEEN_BITS = "I"  # how the names of such modes begin
_SIXTEEN_BITS_AS_I = "PNG", "PPM"  # formats that Pillow reads into 32 bits of which they use 16
_AS_WHOLE = "L", "RGB", "RGBA"  # modes that Pillow can reduce and NumPy can read
_STRIP = 256  # rows, about so many
_MOST_COPIED = MOST_PIXELS // 4  # pixels, of which a few copies take no more than the largest picture


def read(path: str | os.PathLike[str], size: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Return the digit on a picture in a file, prepared as MNIST's are, shape `size`, uint8.

    ``run.predict([read("seven.png")])`` takes a list of them.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is not a picture, is animated, has more than 64 million pixels or pixels without a fixed
        range, such as floats, or shows no digit.
    """
    picture = photograph(path)
    try:
        return prepared(picture, size)
    except ValueError as e:
        raise naming(path, e) from e


def photograph(path: str | os.PathLike[str]) -> np.ndarray:
    """Return a picture as `steps` takes it, turned as its EXIF data say, its longer side at most 1600 pixels.

    Shape (height, width) or (height, width, 3 or 4), uint8. For errors, see `read`.
    """
    return _opened(path, _reduced)


def whole(path: str | os.PathLike[str], size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """Return a picture resized as `xpnet.datasets.image_folder` does, shape (height, width, channels), uint8.

    One of more than 16 million pixels is first reduced by 2, unless `size` is None. For errors, see `read`.
    """
    return _opened(path, lambda picture: _resized(picture, size, channels))


def naming(path: str | os.PathLike[str], error: Exception) -> ValueError:
    """Return an error that says which picture the other error is about."""
    return ValueError(fitted("{path}: {reason}", path=repr(os.fspath(path)), reason=error))


def _opened(path: str | os.PathLike[str], use: Any) -> np.ndarray:
    library = pillow()
    template = "cannot read the picture {path}: {reason}"
    try:
        name = to_read(path)
        with warnings.catch_warnings():
            # The number of pixels is checked here.
            warnings.simplefilter("ignore", library.DecompressionBombWarning)
            with library.open(name) as picture:
                _check(picture)
                found: np.ndarray = use(picture)
                return found
    except OSError as e:
        if e.errno is None:  # raised by Pillow
            advice = "; pass a whole PNG, JPEG or other picture that Pillow reads"
            reason = "it is damaged or not a picture"
            raise ValueError(fitted(template + advice, path=repr(os.fspath(path)), reason=reason)) from e
        raise type(e)(
            fitted(template + "; pass another file", path=repr(os.fspath(path)), reason=e.strerror)
        ) from e
    except library.DecompressionBombError as e:
        reason = f"it has more than the {MOST_PIXELS // 10**6} million pixels that are read; make it smaller"
        raise ValueError(fitted(template, path=repr(os.fspath(path)), reason=reason)) from e
    except _RefusedError as e:
        raise ValueError(fitted(template, path=repr(os.fspath(path)), reason=e)) from e
    except Exception as e:  # Pillow raises errors of many kinds for damaged files.
        advice = "; repair it or pass another file"
        reason = str(e) or type(e).__name__
        raise ValueError(fitted(template + advice, path=repr(os.fspath(path)), reason=reason)) from e


class _RefusedError(Exception):
    """A picture can be read, but is not one that is taken."""


def _check(picture: Any) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != _SEVERAL:
        raise _RefusedError(f"it has {frames} frames; save one of them as a picture of its own")
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in _SIXTEEN_BITS_AS_I):
        raise _RefusedError(f"its pixels have no fixed range (mode {picture.mode!r}); save it with 8 bits")
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise _RefusedError(
            f"it has {width * height / 1e6:.1f} million pixels, at most {MOST_PIXELS // 10**6} million are "
            "read; make it smaller"
        )


def _reduced(picture: Any) -> np.ndarray:
    # A JPEG is decoded at half, a quarter or an eighth of its size.
    picture.draft(picture.mode if picture.mode in _AS_WHOLE else "RGB", (2 * LARGEST, 2 * LARGEST))
    factor = max(1, max(picture.size) // LARGEST)
    found = _smaller(picture, factor)
    return np.asarray(importlib.import_module("PIL.ImageOps").exif_transpose(found))


def _resized(picture: Any, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    if size is not None and picture.width * picture.height > _MOST_COPIED:
        picture = _smaller(picture, 2)
    return pixels_of(pillow(), picture, size, channels)


def _smaller(picture: Any, factor: int) -> Any:
    """Return a picture reduced by a factor, in a mode that NumPy can read.

    Strip by strip, because Pillow copies what it converts or reduces.
    """
    picture.load()
    width, height = picture.size
    rows = factor * max(1, _STRIP // factor)
    boxes = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    strips = [_plain(picture.crop(box)).reduce(factor) for box in boxes]
    found = pillow().new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for number, strip in enumerate(strips):
        found.paste(strip, (0, number * strips[0].height))
    found.info = picture.info  # has EXIF data
    return found


def _plain(picture: Any) -> Any:
    if picture.mode.startswith(_SIXTEEN_BITS):
        picture.info = {}  # It is turned when it is whole.
        return pillow().fromarray(pixels_of(pillow(), picture, None, 1)[..., 0])
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture if picture.mode in _AS_WHOLE else picture.convert("RGB")
