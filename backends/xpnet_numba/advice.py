"""Advice about threads, the machine code on disk, and SVML."""

from __future__ import annotations

from typing import Any

from xpnet_numba import kept, lazy, settings
from xpnet_numba.team import THREADS

_DTYPES = "uint8", "float32", "float64"
_REMEDY = "name one in NUMBA_CACHE_DIR that is yours and that only you can write (mode 0700)"


def advice() -> list[str]:
    """Return a line about threads, two about machine code on disk, and one about SVML."""
    lazy.load("objects")  # It imports all kernels and entries.
    compiled = lazy.load("compiled")
    found = "in use" if getattr(compiled.numba.config, "USING_SVML", False) else "not found"
    return [
        f"threads: {THREADS} share a compiled step (NUMBA_NUM_THREADS); kernels are serial",
        _describe_cache(
            "operations of compiled steps", _count_entries(compiled.ENTRIES), len(compiled.ENTRIES)
        ),
        _describe_kernels(compiled),
        f"SVML: {found}, which changes nothing: the kernels' loops have an exp and a log1p of their own",
    ]


def _describe_cache(what: str, found: int, all_: int) -> str:
    troubles = "".join(f"; {trouble}" for trouble in kept.troubles())
    if not found and kept.folder() is None:
        return f"cache: none of {all_} {what}, because no folder can be written; {_REMEDY}{troubles}"
    # The probe compiles one.
    state = "warm" if found == all_ else "cold" if found <= 1 else "partly warm"
    rest = "" if found == all_ else "; the others are compiled at their first use"
    folders = " and ".join(map(str, kept.readable()))
    return f"cache: {state}, {found} of {all_} {what} in {folders}{rest}{troubles}"


def _describe_kernels(compiled: Any) -> str:
    all_ = len(compiled.KERNELS)
    if not compiled.KEPT:
        names = ", ".join(sorted(settings.of_code()))
        return f"cache: none of {all_} kernels of xp.nn, because {names} may change their code"
    return _describe_cache("kernels of xp.nn", _count_kernels(compiled.KERNELS), all_)


def _count_entries(entries: Any) -> int:
    return sum(any(kept.read(name, dtype) for dtype in _DTYPES) for name in entries)


def _count_kernels(kernels: list[Any]) -> int:
    cache = lazy.load("cache")
    return sum(kept.has(cache.name_of(kernel.py_func), cache.SUFFIX) for kernel in kernels)
