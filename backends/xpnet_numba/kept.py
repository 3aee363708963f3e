"""Machine code on disk. A file is read only if it holds what would be compiled now.

Its name has the function, the types and the processor. It begins with a digest of the code and of everything
that the code was made from. The digest finds damage, but it is no protection, because anyone can compute it:
`trusted` checks whether others could have written the file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import sys
from collections.abc import Iterator

import llvmlite
from llvmlite import binding as llvm

from xpnet import nn
from xpnet_numba import settings, trusted

_SOURCES = pathlib.Path(__file__).parent / "kernels"
_DIGEST = 32
"""Bytes of a SHA-256."""

_failures: dict[pathlib.Path, str] = {}
"""Why the last file could not be written, by folder."""


def read(name: str, types: str, suffix: str = ".o") -> bytes | None:
    """Return the code of a function for some types; None if none from the current sources is kept.

    Parameters
    ----------
    name, types : str
    suffix : str
        ``.o`` for object code, ``.nbc`` for a kernel as Numba serialises it.
    """
    file = _file(name, types, suffix)
    for place in readable():
        code = _whole(place / file)
        if code is not None:
            return code
    return None


def write(name: str, types: str, code: bytes, suffix: str = ".o") -> None:
    """Write code to disk, if that is possible."""
    place = folder()
    if place is not None:
        file = _file(name, types, suffix)
        try:
            trusted.write(place / file, _digest(file, code) + code)
        except OSError as e:
            _failures[place] = str(e.strerror)


def has(name: str, suffix: str) -> bool:
    """Return whether code of a function is on disk for any types."""
    return any(
        _whole(path) is not None for place in readable() for path in place.glob(_file(name, "*", suffix))
    )


@functools.cache
def folder() -> pathlib.Path | None:
    """Return the folder that code is written to, the first that can be trusted and written; None without."""
    return _look()[0]


def readable() -> list[pathlib.Path]:
    """Return the folders that code is read from: those that cannot be written, then `folder()`."""
    place = folder()
    return [*_read_only(), *([] if place is None else [place])]


def troubles() -> list[str]:
    """Return why folders are not used, and why writing failed."""
    found = [f"{place} is not used, because {reason}" for place, reason in _look()[2].items()]
    place = folder()
    if place in _failures:
        found.append(f"{place} cannot be written: {_failures[place]}")
    return found


@functools.cache
def _read_only() -> list[pathlib.Path]:
    return _look()[1]


def _look() -> tuple[pathlib.Path | None, list[pathlib.Path], dict[pathlib.Path, str]]:
    """Return the folder to write to, those before it that can only be read, and why others are not used."""
    read_only: list[pathlib.Path] = []
    refused: dict[pathlib.Path, str] = {}
    for place in _places():
        reason = trusted.why_not(place)
        if not reason:
            try:
                trusted.make(place)
            except OSError as e:
                reason = f"it cannot be made: {e.strerror}"
        if reason:
            refused[place] = reason
        elif os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            return place, read_only, refused
        else:
            read_only.append(place)
    return None, read_only, refused


def _whole(path: pathlib.Path) -> bytes | None:
    """Return the code in a file; None if it is damaged, from other sources, or cannot be trusted."""
    with contextlib.suppress(OSError):
        data = trusted.read(path)
        digest, code = data[:_DIGEST], data[_DIGEST:]
        if digest == _digest(path.name, code):
            return code
    return None


def _places() -> Iterator[pathlib.Path]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        yield pathlib.Path(named, "xpnet_numba")
    yield _SOURCES / "__pycache__"
    try:
        home = pathlib.Path.home()
    except RuntimeError:  # The user `nobody` has no home directory.
        return
    variables = {"win32": "LOCALAPPDATA", "darwin": ""}
    folders = {"win32": "AppData/Local", "darwin": "Library/Caches"}
    users = os.environ.get(variables.get(sys.platform, "XDG_CACHE_HOME"), "")
    # A relative path would depend on the current folder; the XDG specification ignores it too.
    base = users if os.path.isabs(users) else home / folders.get(sys.platform, ".cache")
    yield pathlib.Path(base, "xpnet_numba")


def cpu() -> tuple[str, str]:
    """Return LLVM's names of the processor and of its features."""
    try:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot ask this one.
        return llvm.get_host_cpu_name(), ""


def _file(name: str, types: str, suffix: str) -> str:
    return f"{name}-{types}-{_processor()}{suffix}"


@functools.cache
def _processor() -> str:
    """Return a digest of the processor and of Numba's settings, each of which has its own files."""
    known = llvm.get_process_triple(), *cpu(), *(f"{k}={v}" for k, v in sorted(settings.of_code().items()))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _digest(file: str, code: bytes) -> bytes:
    return hashlib.sha256(_origin() + file.encode() + code).digest()


@functools.cache
def _origin() -> bytes:
    """Return a digest of everything that the code is made from, and of the compilers."""
    versions = llvmlite.__version__, importlib.metadata.version("numba"), sys.implementation.cache_tag
    digest = hashlib.sha256("\n".join(map(str, versions)).encode())
    declared = _SOURCES.parent / "layout.py", _SOURCES.parent / "operations.py"
    of_nn = pathlib.Path(nn.__file__).parent.glob("*.py")
    for path in (*declared, *sorted(_SOURCES.glob("*.py")), *sorted(of_nn)):
        digest.update(path.read_bytes())
    return digest.digest()
