"""Partial files: written beside their target, locked meanwhile, and removed if their writer is gone."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import pathlib
import re
import secrets
import stat
from collections.abc import Iterator
from typing import Any

# Windows has no such locks; nothing is removed there.
_fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

_PARTIAL = re.compile(r"\.[0-9a-f]{16}-[0-9a-f]{16}\.part")


class Partial:
    """A partial file, open and locked.

    Parameters
    ----------
    target : str
        Path of the finished file; not a symbolic link.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._folder, self._prefix = os.path.dirname(target), _prefix(target)
        self._replaced = _found(target)
        self._path, self._file = self._made()

    def _made(self) -> tuple[str, io.FileIO]:
        # A file that only its owner may read must not be readable by others before its mode is set.
        mode = 0o666 if self._replaced is None else 0o600
        while True:
            path = os.path.join(self._folder, f"{self._prefix}{secrets.token_hex(8)}.part")
            file = io.FileIO(path, "x+", opener=lambda name, flags: os.open(name, flags, mode))
            _lock(file.fileno(), wait=True)
            if os.path.exists(path):  # Another process may have removed it before it was locked.
                return path, file
            file.close()

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        pathlib.Path(self._path).write_bytes(data)

    def move(self, *, sync: bool = False) -> None:
        """Move it to its target, with the mode and the owner of the file that it replaces.

        With `sync`, it returns when the file and its name are on the disk, and not only in memory.
        """
        if sync:
            os.fsync(self._file.fileno())
        if _fcntl is None:
            self._file.close()  # Windows cannot move an open file.
        elif self._replaced is not None:
            _keep_owner_and_mode(self._file.fileno(), self._replaced)
        os.replace(self._path, self._target)
        if sync:
            sync_folder(self._folder)

    def close(self) -> None:
        """Remove it unless it was moved, and remove what killed writers of the same target left."""
        self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        _remove_stale(self._folder, self._prefix)


@contextlib.contextmanager
def partial_file(target: str) -> Iterator[Partial]:
    """Return a context with a partial file for `target`."""
    partial = Partial(target)
    try:
        yield partial
    finally:
        partial.close()


def sync_folder(folder: str) -> None:
    """Wait until the names of the files in a folder are on the disk; Windows has no call for that."""
    if _fcntl is None:
        return
    number = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def link(source: str, target: str) -> None:
    """Give the file `source` the second name `target`; a file of that name is replaced at once.

    Raises
    ------
    OSError
        If the file system has no such links.
    """
    beside = os.path.join(os.path.dirname(target), f"{_prefix(target)}{secrets.token_hex(8)}.part")
    os.link(source, beside)
    os.replace(beside, target)
    with contextlib.suppress(FileNotFoundError):  # It is still there if both were the same file already.
        os.unlink(beside)


def remove_stale(folder: str) -> None:
    """Remove what killed writers of any file left in a folder."""
    _remove_stale(folder, "")


def _found(target: str) -> os.stat_result | None:
    """Return the status of the file at `target`, or None if there is no file."""
    try:
        return os.stat(target)
    except FileNotFoundError:
        return None


def _prefix(target: str) -> str:
    # A digest, because the name itself may already have the greatest length that is allowed.
    name = os.fsencode(os.path.basename(target))
    return f".{hashlib.sha256(name).hexdigest()[:16]}-"


def _keep_owner_and_mode(number: int, replaced: os.stat_result) -> None:
    mode = stat.S_IMODE(replaced.st_mode)
    own = os.fstat(number)
    if (own.st_uid, own.st_gid) != (replaced.st_uid, replaced.st_gid):
        try:
            os.fchown(number, replaced.st_uid, replaced.st_gid)
        except OSError:
            with contextlib.suppress(OSError):
                os.fchown(number, -1, replaced.st_gid)
            mode &= 0o777  # Without set-uid and set-gid, because the owner is another.
    os.fchmod(number, mode)  # after the owner, because changing it clears bits of the mode


def _lock(number: int, *, wait: bool = False) -> bool:
    """Return whether this process now has the lock of an open file; it is released when the process ends."""
    if _fcntl is None:
        return False
    try:
        _fcntl.flock(number, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_stale(folder: str, prefix: str) -> None:
    with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _PARTIAL.fullmatch(entry.name):
                _remove_if_dead(entry.path)


def _remove_if_dead(path: str) -> None:
    """Remove a partial file unless a process has locked it."""
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            if _lock(number):
                os.unlink(path)
        finally:
            os.close(number)
