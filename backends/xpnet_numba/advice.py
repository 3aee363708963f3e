"""What a person may want to know of threads, of what is kept on disk, and of SVML."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from xpnet_numba import kept, lazy, settings
from xpnet_numba.team import THREADS

_DTYPES = "uint8", "float32", "float64"


def advice() -> list[str]:
    """Return a line for threads, two for what is kept, and one for SVML."""
    lazy.load("objects")  # All kernels and entries are defined then.
    compiled = lazy.load("compiled")
    found = "in use" if getattr(compiled.numba.config, "USING_SVML", False) else "not found"
    return [
        f"threads: {THREADS} share a compiled step (NUMBA_NUM_THREADS); kernels are serial",
        _tell_cache("operations of compiled steps", *_count_entries(compiled.ENTRIES)),
        _tell_kernels(compiled.KERNELS),
        f"SVML: {found}, which changes nothing: the kernels' loops have an exp and a log1p of their own",
    ]


def _tell_cache(what: str, found: int, all_: int, folder: pathlib.Path | None) -> str:
    if folder is None:
        return f"cache: none of {all_} {what}, for no folder can be written; name one in NUMBA_CACHE_DIR"
    if found == all_:
        return f"cache: warm, {found} of {all_} {what} in {folder}"
    # The probe has compiled one.
    state = "cold" if found <= 1 else "partly warm"
    return f"cache: {state}, {found} of {all_} {what} in {folder}; the others are compiled at their first use"


def _tell_kernels(kernels: list[Any]) -> str:
    if kernels[0].stats.cache_path is None:
        names = ", ".join(sorted(settings.of_code()))
        return f"cache: none of {len(kernels)} kernels of xp.nn, because {names} may change their code"
    return _tell_cache("kernels of xp.nn", *_count_kernels(kernels))


def _count_entries(entries: Any) -> tuple[int, int, pathlib.Path | None]:
    found = sum(any(kept.read(name, dtype) for dtype in _DTYPES) for name in entries)
    return found, len(entries), kept.folder()


def _count_kernels(kernels: list[Any]) -> tuple[int, int, pathlib.Path]:
    folder = pathlib.Path(kernels[0].stats.cache_path)
    return sum(_has_index(kernel.py_func, folder) for kernel in kernels), len(kernels), folder


def _has_index(function: Any, folder: pathlib.Path) -> bool:
    """Return whether Numba has an index file for this function, on the line where it stands now."""
    module, line = function.__module__.rpartition(".")[2], function.__code__.co_firstlineno
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(folder.glob(f"{module}.{function.__qualname__}-{line}.{python}*.nbi"))
