"""Files that are written completely or not at all, checks before reading, and JSON."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import pathlib
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from xpnet.partial import partial_file

_LARGEST = 2**64  # Whole numbers that are read are below it; so is a seed, the largest that is written.
MOST_NESTED = 500  # depth of nested brackets: less than every Python can read, and far more than is written
_LINKS = 40  # links to follow in a row, as in Linux


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return `value`, which may contain NumPy's numbers, as JSON, with null for infinities and nan."""
    return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def from_json(text: str) -> Any:
    """Return the value of JSON that `json_text` wrote.

    Raises
    ------
    ValueError
        If it is not such JSON. This includes numbers that are infinite, nan or whole and above 64 bits,
        duplicate keys in an object, and nesting more than `MOST_NESTED` (500) deep.
    """
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_without_twins,
        )
    except RecursionError as e:
        raise ValueError("its brackets nest too deep") from e
    level = [value]
    for _ in range(MOST_NESTED):
        level = [*itertools.chain.from_iterable(map(_parts, level))]
    if level:
        raise ValueError("its brackets nest too deep")
    return value


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def to_read(path: str | bytes | os.PathLike[Any]) -> str:
    """Return `path` as text if it is a regular file, which can be read without waiting.

    Raises
    ------
    OSError
        If it is something else, such as a folder or a pipe, or does not exist; the message names it.
    """
    name = os.fsdecode(path)
    try:
        mode = os.stat(name).st_mode
    except ValueError as e:
        raise FileNotFoundError(errno.ENOENT, "no file can have this name") from e
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return name


def write_whole(path: str | bytes | os.PathLike[Any], data: bytes, *, sync: bool = False) -> None:
    """Write `data` to `path`; after a failure, the old file is still there.

    - The new file has the mode of the file that it replaces, and its owner and group if the system allows
      that. A file that replaces none has the mode that the umask gives.
    - A symbolic link remains a link. Other names of the same file (hard links) keep the old content.
    - A pipe or a device is written to, and so is an open file, such as ``/dev/stdout`` or ``/dev/fd/3``.
    - Temporary files that killed writers left next to the file are removed.
    - With `sync`, the file survives a loss of power once this returns.

    Raises
    ------
    OSError
        If the file cannot be written, or is read-only; the message names it.
    """
    with _named(path) as target:
        number = open_file(target)
        if number is not None:
            _write_open(number, data)
        elif _is_special(target):
            pathlib.Path(target).write_bytes(data)  # No old content to keep; it must not be replaced.
        else:
            # Written next to its place, then moved there.
            with partial_file(os.path.realpath(target)) as partial:
                partial.write(data)
                partial.move(sync=sync)


def check_writable(path: str | bytes | os.PathLike[Any]) -> None:
    """Check that `write_whole` could write to `path`, without leaving anything there.

    Raises
    ------
    OSError
        If it could not; the message names the file.
    """
    with _named(path) as target:
        number = open_file(target)
        if number is not None:
            os.write(number, b"")  # which fails on a file that is open for reading
        elif not _is_special(target):
            with partial_file(os.path.realpath(target)):
                pass


def open_file(path: str | os.PathLike[str]) -> int | None:
    """Return the number of this process's open file that `path` names, as ``/dev/stdout`` does, or None.

    It may be a file that a shell writes to, so it must be neither replaced nor opened again.
    """
    name = os.fspath(path)
    for _ in range(_LINKS):
        folder = os.path.realpath(os.path.dirname(name) or ".")
        base = os.path.basename(name)
        if base.isdecimal() and folder in (os.path.realpath("/proc/self/fd"), "/dev/fd"):
            return int(base)
        if not os.path.islink(name):
            break
        name = os.path.join(folder, os.readlink(name))
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it contains {name}, which is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("it contains a number that is too large for a float")
    return value


def _whole(text: str) -> int:
    # Python cannot read a whole number of more than 4300 digits.
    if len(text) > len(str(_LARGEST)) or abs(int(text)) >= _LARGEST:
        raise ValueError(f"it contains a whole number of {len(text.lstrip('-'))} digits, more than 64 bits")
    return int(text)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _without_nan(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def _named(path: str | bytes | os.PathLike[Any]) -> Iterator[str]:
    """Return a context for writing that gives `path` as text and whose errors name it."""
    target = os.fsdecode(path)
    try:
        if not target:
            raise FileNotFoundError(errno.ENOENT, "the name is empty; name a file")
        _check_replaceable(target)
        yield target
    except RuntimeError as e:  # Python 3.11 and 3.12 raise it for circular links.
        raise OSError(f"cannot write {str(path)!r}: {e}; choose another place") from e
    except OSError as e:
        reason = str(e.strerror)
        advice = "" if "; " in reason else "; choose another place"
        raise type(e)(f"cannot write {target!r}: {reason}{advice}") from e


def _check_replaceable(target: str) -> None:
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    except ValueError as e:
        raise OSError(errno.EINVAL, "no file can have this name; choose another one") from e
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
    # The superuser could write to a read-only file, but would not expect it.
    read_only = stat.S_ISREG(mode) and not mode & 0o222
    if open_file(target) is None and (read_only or not os.access(target, os.W_OK)):
        raise PermissionError(errno.EACCES, "it is read-only; choose another place")


def _is_special(target: str) -> bool:
    return os.path.exists(target) and not os.path.isfile(target)


def _write_open(number: int, data: bytes) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # so that earlier prints come first
    with open(os.dup(number), "wb") as file:
        file.write(data)
