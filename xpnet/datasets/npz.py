"""NumPy's archives of arrays, `.npz`: read without pickles, and not larger than expected."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path as Place
from typing import Any

import numpy

from xpnet.checks import count
from xpnet.datasets.csv_rows import Path, Refusal
from xpnet.datasets.dataset import Dataset
from xpnet.datasets.encoding import find, narrowed
from xpnet.errors import fitted, shortened
from xpnet.files import to_read

INPUTS = "x", "X", "inputs", "images", "data"
TARGETS = "y", "Y", "targets", "labels", "target"
"""Names that arrays usually have; the first that an archive has is read."""
_TRAIN, _TEST = "train", "test"
_END = ".npy"
# As for IDX files.
_MOST_UNPACKED, _MOST_UNPACKED_PER_BYTE = 256 << 20, 32
_DAMAGES = zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError
_AGAIN = "download or write it again"
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): numpy.lib.format.read_array_header_1_0,
    (2, 0): numpy.lib.format.read_array_header_2_0,
}


def npz_file(
    path: Path, *, inputs: str | None = None, targets: str | None = None, max_bytes: int | None = None
) -> Dataset:
    """Return two arrays of an archive as a data set.

    Inputs that are whole numbers, but not uint8, become floats, and so do truth values. Targets of text
    become classes, in order. Targets of shape (n, 1) that are whole numbers or text become (n,).

    Parameters
    ----------
    path : path
    inputs, targets : str, optional
        The names of the arrays. If omitted, x, X, inputs, images or data; and y, Y, targets, labels or
        target.
    max_bytes : int, optional
        Limit for each array, unpacked. If omitted, one that is compressed may unpack to 256 MiB, or to 32
        times its compressed size if that is more; one that is not has no limit.

    Returns
    -------
    dataset : Dataset
        Its name is the file's absolute path, with links resolved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be read.
    ValueError
        If it is no such archive, is damaged, holds objects, or has no such arrays.
    """
    with _opened(path, max_bytes) as archive:
        pair = archive.pick(INPUTS, inputs, "inputs"), archive.pick(TARGETS, targets, "targets")
        return archive.dataset(pair)


def npz_parts(path: Path, *, max_bytes: int | None = None) -> tuple[Dataset, Dataset | None]:
    """Return the training set of an archive, and its test set or None.

    Their arrays are named as for `npz_file`, with ``_train`` and ``_test`` behind (``x_train``, ``y_train``,
    ``x_test`` and ``y_test``), or ``train_`` and ``test_`` before. Without such names, there is no test set.
    Both have the same classes.

    Parameters
    ----------
    path, max_bytes
        As of `npz_file`, and so are the errors.
    """
    with _opened(path, max_bytes) as archive:
        pairs = [archive.pair(part) for part in (_TRAIN, _TEST)]
        if pairs[0] is None:
            pair = archive.pick(INPUTS, None, "inputs"), archive.pick(TARGETS, None, "targets")
            return archive.dataset(pair), None
        train = archive.dataset(pairs[0])
        return train, None if pairs[1] is None else archive.dataset(pairs[1], train.classes)


class _Archive:
    """An open archive.

    Parameters
    ----------
    file : zipfile.ZipFile
    name : str
        Of the data sets.
    most : int or None
        Limit for each array, in bytes.
    """

    def __init__(self, file: zipfile.ZipFile, name: str, most: int | None) -> None:
        self._file = file
        self._name = name
        self._most = most
        members = [info for info in file.infolist() if info.filename.endswith(_END)]
        self._members = {info.filename.removesuffix(_END): info for info in members}
        if not self._members:
            raise Refusal("has no arrays", "write it with `numpy.savez`")

    def pick(self, usual: Sequence[str], name: str | None, argument: str) -> str:
        """Return the name of an array: `name`, or the first of the usual ones."""
        found = [*self._members]
        if name is not None:
            return found[find(name, found, "array")]
        known = [one for one in usual if one in found]
        if not known:
            listed = shortened(", ".join(map(repr, found)), 120)
            raise Refusal(f"has none of the arrays {', '.join(usual)}, only {listed}", f"pass `{argument}=`")
        return known[0]

    def pair(self, part: str) -> tuple[str, str] | None:
        """Return the names of the inputs and the targets of a part; None if it has neither."""
        for form in (f"{{}}_{part}", f"{part}_{{}}"):
            found = [
                [name for name in map(form.format, usual) if name in self._members]
                for usual in (INPUTS, TARGETS)
            ]
            if all(found):
                return found[0][0], found[1][0]
            if any(found):
                there = (found[0] or found[1])[0]
                what = "targets" if found[0] else "inputs"
                raise Refusal(f"has {there!r}, but no {what} that belong to it", "add them")
        return None

    def dataset(self, pair: tuple[str, str], classes: tuple[str, ...] | None = None) -> Dataset:
        """Return two arrays as a data set; classes are those of the training set, if there is one."""
        inputs, targets = map(self._read, pair)
        if len(inputs) != len(targets):
            raise Refusal(
                f"has {len(inputs)} rows in {pair[0]!r}, but {len(targets)} in {pair[1]!r}", "write it again"
            )
        if inputs.dtype.kind in "biuf" and inputs.dtype not in (numpy.uint8, numpy.float32, numpy.float64):
            inputs = narrowed(inputs.astype(numpy.float64))
        if targets.ndim == 2 and targets.shape[1] == 1 and targets.dtype.kind in "biuUS":
            targets = targets[:, 0]
        if targets.dtype.kind in "US":
            targets, classes = _as_classes(pair[1], targets, classes)
        return Dataset(inputs, targets, name=self._name, classes=classes)

    def _read(self, name: str) -> numpy.ndarray:
        info = self._members[name]
        try:
            self._check(name, info)
            with self._file.open(info) as stream:
                array: numpy.ndarray = numpy.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as e:
            raise Refusal(f"has a damaged array {name!r} ({e})", _AGAIN) from e
        if array.ndim == 0:
            raise Refusal(
                f"has a single value as {name!r}, not one row for each example", "choose another array"
            )
        return array

    def _check(self, name: str, info: zipfile.ZipInfo) -> None:
        """Raise unless an array is what its header announces, and not too large, before it is read."""
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal(f"has {name!r} in another compression than NumPy's", _AGAIN)
        with self._file.open(info) as stream:
            version = numpy.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise Refusal(
                    f"has {name!r} in version {version} of the format", "write plain arrays of numbers"
                )
            shape, _, dtype = _HEADERS[version](stream)
            announced = stream.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise Refusal(
                f"has Python objects in {name!r}, which are never read", "save arrays of numbers or text"
            )
        if announced != info.file_size:
            raise Refusal(
                f"has {info.file_size} bytes as {name!r}, but its header announces {announced}", _AGAIN
            )
        most = self._most
        if most is None and info.compress_type == zipfile.ZIP_DEFLATED:
            most = max(_MOST_UNPACKED, _MOST_UNPACKED_PER_BYTE * info.compress_size)
        if most is not None and announced > most:
            raise Refusal(
                f"has {announced} bytes as {name!r}, but the limit is {most}",
                f"if you trust it, pass `max_bytes={announced}`",
            )


@contextlib.contextmanager
def _opened(path: Path, max_bytes: int | None) -> Iterator[_Archive]:
    """Return a context with an archive, in which errors get the file's name."""
    most = None if max_bytes is None else count("max_bytes", max_bytes)
    named = repr(os.fsdecode(path))
    try:
        name = to_read(path)
    except OSError as e:
        found = "" if isinstance(e, FileNotFoundError) else f": {e.strerror}"
        template = "there is no file {path}{found}; correct the path"
        raise FileNotFoundError(fitted(template, path=named, found=found)) from e
    try:
        with _unzipped(name) as file:
            yield _Archive(file, str(Place(name).resolve()), most)
    except Refusal as e:
        template = "archive {path} {finding}; {advice}"
        message = fitted(template, path=named, finding=e.finding, advice=e.advice)
        raise ValueError(message) from e.__cause__
    except _DAMAGES as e:
        raise _damaged(named, e) from e
    except OSError as e:
        if e.errno == errno.EINVAL:  # of an offset that is negative
            raise _damaged(named, e) from e
        template = "cannot read {path}: {reason}; pass a file that you may read"
        raise type(e)(fitted(template, path=named, reason=e.strerror or e)) from e


def _unzipped(name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(name)
    except ValueError as e:  # of an offset that is negative
        raise zipfile.BadZipFile(str(e)) from e


def _damaged(named: str, reason: Exception) -> ValueError:
    template = "archive {path} is damaged, or not what `numpy.savez` wrote ({reason}); {advice}"
    return ValueError(fitted(template, path=named, reason=reason, advice=_AGAIN))


def _as_classes(
    name: str, targets: numpy.ndarray, classes: tuple[str, ...] | None
) -> tuple[numpy.ndarray, tuple[str, ...]]:
    """Return texts as class indices, and the names of the classes: those that are given, or all in order."""
    if targets.dtype.kind == "S":
        targets = numpy.char.decode(targets, "utf-8")
    found, indices = numpy.unique(targets, return_inverse=True)
    texts = tuple(map(str, found))
    known = texts if classes is None else classes
    unknown = [text for text in texts if text not in known]
    if unknown:
        raise Refusal(f"has {unknown[0]!r} in {name!r}, which is no class of the training set", "correct it")
    places = numpy.array([known.index(text) for text in texts], numpy.int32)
    return places[indices.reshape(targets.shape)], known
