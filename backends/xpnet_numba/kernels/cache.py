"""Kernels on disk, in our own files: those of Numba's cache may be damaged, or written by another user."""

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from typing import Any

from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from xpnet_numba import kept

SUFFIX = ".nbc"


class Cache(_Cache):
    """The cache of a compiled function, with the methods that Numba calls.

    Numba's own unpickles a file, and so runs it, whoever wrote it. With a damaged file or a full disk it
    raises an error or ends the process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = name_of(function)

    @property
    def cache_path(self) -> str | None:
        """The folder that is written, or None."""
        folder = kept.folder()
        return None if folder is None else str(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled for a signature; None to have it compiled."""
        target_context.refresh()
        data = kept.read(self.name, _name_types(sig), SUFFIX)
        if data is not None:
            with contextlib.suppress(Exception):  # Whatever the reason, what cannot be loaded is compiled.
                return CompileResult._rebuild(target_context, *pickle.loads(data))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write what was compiled for a signature to disk, if that is possible."""
        if not data.library.has_dynamic_globals:  # They are addresses in this process.
            kept.write(self.name, _name_types(sig), dumps(data._reduce()), SUFFIX)

    def enable(self) -> None:
        """Do nothing: the cache is always enabled."""

    def disable(self) -> None:
        """Do nothing: Numba never calls it."""

    def flush(self) -> None:
        """Do nothing: what is compiled again replaces the file."""


def name_of(function: Callable[..., Any]) -> str:
    """Return the name that a function has in its files' names."""
    return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"


def _name_types(sig: Any) -> str:
    return hashlib.sha256(str(sig).encode()).hexdigest()[:16]
