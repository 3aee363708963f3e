"""Object code on disk, in files that are what would be compiled now or are not there.

A file's name tells the function, its dtype and the processor; it begins with a digest of the code and of all
that it was made of.
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

from xpnet.files import write_whole
from xpnet_numba import layout, settings

_SOURCES = pathlib.Path(__file__).parent / "kernels"
_DIGEST = 32
"""Bytes of a SHA-256."""


def read(name: str, dtype: str) -> bytes | None:
    """Return the object code of a function for a dtype, or None if there is none of these sources."""
    place = folder()
    if place is not None:
        with contextlib.suppress(OSError):
            file = _file(name, dtype)
            data = (place / file).read_bytes()
            digest, code = data[:_DIGEST], data[_DIGEST:]
            if digest == _digest(file, code):
                return code
    return None


def write(name: str, dtype: str, code: bytes) -> None:
    """Keep object code, if that is possible."""
    place = folder()
    if place is not None:
        with contextlib.suppress(OSError):
            file = _file(name, dtype)
            write_whole(place / file, _digest(file, code) + code)


@functools.cache
def folder() -> pathlib.Path | None:
    """Return where machine code is kept, the first of Numba's places that can be written, or None."""
    for place in _places():
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK):
                return place
    return None


def _places() -> Iterator[pathlib.Path]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        yield pathlib.Path(named, "xpnet_numba")
    yield _SOURCES / "__pycache__"
    try:
        home = pathlib.Path.home()
    except RuntimeError:  # Nobody has none.
        return
    variables = {"win32": "LOCALAPPDATA", "darwin": ""}
    folders = {"win32": "AppData/Local", "darwin": "Library/Caches"}
    users = os.environ.get(variables.get(sys.platform, "XDG_CACHE_HOME"))
    yield pathlib.Path(users or home / folders.get(sys.platform, ".cache"), "xpnet_numba")


def cpu() -> tuple[str, str]:
    """Return the processor's name and its features, as LLVM calls them."""
    try:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM does not know how to ask this one.
        return llvm.get_host_cpu_name(), ""


def _file(name: str, dtype: str) -> str:
    return f"{name}-{dtype}-{_processor()}.o"


@functools.cache
def _processor() -> str:
    """Return a name for what the code runs on, and for Numba's settings: each has files of its own."""
    known = llvm.get_process_triple(), *cpu(), *(f"{k}={v}" for k, v in sorted(settings.of_code().items()))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _digest(file: str, code: bytes) -> bytes:
    return hashlib.sha256(_origin() + file.encode() + code).digest()


@functools.cache
def _origin() -> bytes:
    """Return a digest of what the code is made of, and by what."""
    versions = llvmlite.__version__, importlib.metadata.version("numba"), sys.implementation.cache_tag
    digest = hashlib.sha256("\n".join(map(str, versions)).encode())
    for path in (*sorted(_SOURCES.glob("*.py")), pathlib.Path(layout.__file__)):
        digest.update(path.read_bytes())
    return digest.digest()
