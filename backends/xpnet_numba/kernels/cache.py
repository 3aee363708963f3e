"""Kernels on disk, in files of ours: those of Numba's own cache may be damaged, or from somebody else."""

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
    """The cache of a compiled function, as Numba asks for it.

    Numba's own unpickles what is there, which runs it, whoever wrote it. A damaged file or a full disk is an
    error there, or ends the process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = name_of(function)

    @property
    def cache_path(self) -> str | None:
        """The folder that is written, or None."""
        folder = kept.folder()
        return None if folder is None else str(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled for a signature, or None, which has it compiled."""
        target_context.refresh()
        data = kept.read(self.name, _name_types(sig), SUFFIX)
        if data is not None:
            with contextlib.suppress(Exception):  # What cannot be loaded, whatever the reason, is compiled.
                return CompileResult._rebuild(target_context, *pickle.loads(data))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, if that is possible."""
        if not data.library.has_dynamic_globals:  # Those are addresses in this process.
            kept.write(self.name, _name_types(sig), dumps(data._reduce()), SUFFIX)

    def enable(self) -> None:
        """Do nothing: it is on."""

    def disable(self) -> None:
        """Do nothing: Numba never calls it."""

    def flush(self) -> None:
        """Do nothing: what is compiled anew replaces what was kept."""


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function in the names of its files."""
    return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"


def _name_types(sig: Any) -> str:
    return hashlib.sha256(str(sig).encode()).hexdigest()[:16]
