"""Files that only this user and the superuser can have written.

Machine code on disk is run, so a folder is used only if no other user can put a file into it or replace it by
another folder. Systems without user ids, such as Windows, separate users' folders themselves: there a file
only has to be a regular one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator

_HAS_OWNERS = hasattr(os, "geteuid")
_BY_DESCRIPTOR = os.open in os.supports_dir_fd
_MAX_LINKS = 40
"""How many links a path may lead through; Linux has the same limit."""


def _flags(*names: str) -> int:
    return sum(getattr(os, name, 0) for name in names)


# Without O_NONBLOCK, opening a FIFO without a writer would block.
_READ = _flags("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
_WRITE = _flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
_FOLDER = _flags("O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC")


def why_not(folder: pathlib.Path) -> str:
    """Return why a folder cannot be trusted; empty if it can, or if it does not exist yet."""
    if not folder.is_absolute():
        return "it is no absolute path"
    try:
        if _HAS_OWNERS:
            for path, found in _steps(folder):
                reason = _suspect(found, path, shared=True)
                if reason:
                    return reason
        found = os.lstat(folder)
        return _suspect(found, folder) if stat.S_ISDIR(found.st_mode) else "it is no folder"
    except FileNotFoundError:
        return ""
    except OSError as e:
        return str(e.strerror)


def make(folder: pathlib.Path) -> None:
    """Make a folder and its parents, for this user only.

    Raises
    ------
    OSError
        If that is not possible.
    """
    if not folder.is_dir():
        make(folder.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def read(path: pathlib.Path) -> bytes:
    """Return the contents of a regular file that no other user could have written, nor its folder.

    Raises
    ------
    OSError
        If it cannot be read, or should not be.
    """
    with _opened(path.parent) as folder:
        # The open file is checked, because the name may belong to another file meanwhile.
        descriptor = os.open(path if folder is None else path.name, _READ, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", str(path))
            _check(found, path)
            return file.read()


def write(path: pathlib.Path, data: bytes) -> None:
    """Write a whole file, for this user only. It replaces a file of its name, and does not follow a link.

    Raises
    ------
    OSError
        If it cannot be written, or its folder cannot be trusted. Nothing is left behind.
    """
    with _opened(path.parent) as folder:
        place = path.parent if folder is None else pathlib.Path()
        part, target = place / f".{path.name}.{secrets.token_hex(8)}.part", place / path.name
        descriptor = os.open(part, _WRITE, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(part, target, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise


@contextlib.contextmanager
def _opened(folder: pathlib.Path) -> Iterator[int | None]:
    """Return a context with the descriptor of a checked folder; None if the system has none."""
    if not _BY_DESCRIPTOR:
        yield None
        return
    descriptor = os.open(folder, _FOLDER)
    try:
        _check(os.fstat(descriptor), folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, path: pathlib.Path) -> None:
    reason = _suspect(found, path)
    if reason:
        raise PermissionError(errno.EACCES, reason, str(path))


def _suspect(found: os.stat_result, path: str | pathlib.Path, *, shared: bool = False) -> str:
    """Return why another user could have made what was found at a path; empty if none could.

    With `shared` it may be a sticky folder such as /tmp, where users cannot replace the files of others.
    """
    if not _HAS_OWNERS:
        return ""
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user"
    # The mode of a link means nothing.
    writable = found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)
    if writable and not (shared and found.st_mode & stat.S_ISVTX):
        return f"others can write {path}"
    return ""


def _steps(path: pathlib.Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all folders and links on an absolute path, from the root to the path itself."""
    place, left, links = path.anchor, list(path.parts[:0:-1]), 0
    yield place, os.lstat(place)
    while left:
        part = left.pop()
        step = os.path.dirname(place) if part == ".." else os.path.join(place, part)
        found = os.lstat(step)
        yield step, found
        if not stat.S_ISLNK(found.st_mode):
            place = step
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = pathlib.Path(os.readlink(step))
        if target.is_absolute():
            place = target.anchor
        left += target.relative_to(target.anchor).parts[::-1]
