"""Data that one process reads, in memory that all processes of a machine share."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import pathlib
import pickle
import secrets
import stat
import tempfile
from collections.abc import Callable, Hashable
from typing import IO, Any, TypeVar

import numpy as np

from xpnet.distributed.group import Group

Found = TypeVar("Found")

_ALIGNED = 64  # bytes: a cache line
_MARK = 64  # bytes at the beginning of the memory, by which it is recognised
_CHUNK = 1 << 26  # bytes that are sent to other machines at once


def read_once(group: Group, load: Callable[[], Found]) -> Found:
    """Return what `load` returns, which is called on rank 0 only, with arrays that the ranks share.

    The arrays are in the memory of each machine once, and its processes share them. Other machines need no
    copy of the files. Nothing can write to the arrays. Their memory is freed when no process has them any
    more.

    Parameters
    ----------
    group : Group
        If it has only one process, `load` is called, and nothing else happens.
    load : callable
        Returns data sets, or a tuple or dict of some, or anything else that can be pickled.

    Returns
    -------
    found
        The same on each rank.

    Raises
    ------
    Exception
        On rank 0, what `load` raised; on the others, a `DistributedError` with the same message.

    Notes
    -----
    On systems other than Linux, each process has a copy of its own.
    """
    if group.size == 1:
        return load()
    text = b""
    arrays: list[memoryview] = []
    with group.together():
        if group.rank == 0:
            text, arrays = _taken_apart(load())
    text, sizes = group.broadcast((text, [x.nbytes for x in arrays]))
    ends = np.cumsum([_MARK, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)])
    with group.together():
        file = _written(arrays, ends) if group.rank == 0 else None
    del arrays
    with _spread(group, file, int(ends[-1])) as own:
        # It has a handle of its own of the file.
        memory = np.frombuffer(mmap.mmap(own.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    parts = [memory[begin : begin + size] for begin, size in zip(ends, sizes, strict=False)]
    found: Found = pickle.loads(text, buffers=parts)
    return found


class _Pickler(pickle.Pickler):
    """Takes the memory of all arrays out, also of those whose rows are not one after another."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and not (value.flags.c_contiguous or value.flags.f_contiguous):
            return np.ascontiguousarray(value).__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


def _taken_apart(value: Any) -> tuple[bytes, list[memoryview]]:
    """Return a pickled value without the memory of its arrays, and that memory."""
    text = io.BytesIO()
    arrays: list[memoryview] = []
    _Pickler(text, protocol=5, buffer_callback=lambda array: arrays.append(array.raw())).dump(value)
    return text.getvalue(), arrays


def _new_file() -> IO[bytes]:
    """Return a file without a name, so that nothing is left of it, however the processes end."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("xpnet"), "w+b")
    return tempfile.TemporaryFile()


def _written(arrays: list[memoryview], ends: np.ndarray) -> IO[bytes]:
    """Return a file that has a mark, and the arrays from these places on."""
    file = _new_file()
    file.write(secrets.token_bytes(_MARK))
    for array, end in zip(arrays, ends[1:], strict=True):
        file.write(array)
        file.write(bytes(int(end) - file.tell()))
    file.flush()
    return file


def _spread(group: Group, file: IO[bytes] | None, size: int) -> IO[bytes]:
    """Return a file that has what that of rank 0 has: its own on each machine."""
    place: Hashable = _place() or group.rank
    while True:
        held = group.gather((place, None if file is None else _address(file)))
        addresses = [address for other, address in held if other == place and address is not None]
        if file is None and addresses:
            file = _opened(addresses[0], size)
            place = place if file else group.rank  # it cannot be shared here
        lacking = group.gather(None if file else place)
        if not any(found is not None for found in lacking):
            assert file is not None
            return file
        is_first = file is None and lacking.index(place) == group.rank
        copy = _copied(group, file, size, wanted=is_first)
        file = file or copy


def _place() -> Hashable:
    """Return what processes have in common that can open each other's files; None if none can."""
    with contextlib.suppress(OSError):
        machine = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return machine, os.stat("/proc/self/ns/pid").st_ino, os.getuid()
    return None


def _address(file: IO[bytes]) -> tuple[str, bytes]:
    """Return where other processes find a file, and its mark."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}", _read(file, 0, _MARK)


def _opened(address: tuple[str, bytes], size: int) -> IO[bytes] | None:
    """Return the file of another process, or None if it cannot be opened or is another one."""
    path, mark = address
    with contextlib.suppress(OSError):
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) and found.st_size == size:
            file = os.fdopen(os.open(path, os.O_RDONLY), "rb")
            if _read(file, 0, _MARK) == mark:
                return file
            file.close()
    return None


def _copied(group: Group, file: IO[bytes] | None, size: int, *, wanted: bool) -> IO[bytes] | None:
    """Return a copy of rank 0's file if it is wanted here; all ranks call this."""
    copy = _new_file() if wanted else None
    for begin in range(0, size, _CHUNK):
        chunk = group.broadcast(_read(file, begin, _CHUNK) if group.rank == 0 and file else None)
        with group.together():
            if copy is not None:
                copy.write(chunk)
                copy.flush()
    return copy


def _read(file: IO[bytes], begin: int, n: int) -> bytes:
    file.seek(begin)
    return file.read(n)
