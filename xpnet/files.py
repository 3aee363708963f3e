"""Files that are written whole or not at all, and the JSON in them."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return `value`, in which numbers may be NumPy's, as JSON, with null for infinities and nan."""
    return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`; a failure leaves what was there.

    Raises
    ------
    OSError
        If the file cannot be written, or is read-only; the message names it.
    """
    with _named(path) as target:
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # A pipe or a device has nothing to keep, and must stay what it is.
            return
        # Written beside its place and then moved there.
        with _partial(target) as partial:
            partial.write_bytes(data)
            partial.replace(target)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Try whether `write_whole` could write to `path`, and leave nothing there.

    Raises
    ------
    OSError
        If it could not; the message names the file.
    """
    with _named(path) as target:
        if target.exists() and not target.is_file():
            return
        with _partial(target) as partial:
            partial.touch()
            if not target.exists():
                partial.replace(target)
                target.unlink()


def _without_nan(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Return a context for writing, with the file that `path` is, whose errors name `path`."""
    try:
        target = pathlib.Path(path).resolve()  # so that a symbolic link stays one
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
        if target.exists() and _is_read_only(target):
            raise PermissionError(errno.EACCES, "it is read-only; choose another place")
        yield target
    except OSError as e:
        reason = str(e.strerror)
        advice = "" if "; " in reason else "; choose another place"
        raise type(e)(f"cannot write {str(path)!r}: {reason}{advice}") from e


@contextlib.contextmanager
def _partial(target: pathlib.Path) -> Iterator[pathlib.Path]:
    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _is_read_only(target: pathlib.Path) -> bool:
    # A superuser may write to what nobody may, and would not expect it.
    return not os.access(target, os.W_OK) or (target.is_file() and not target.stat().st_mode & 0o222)
