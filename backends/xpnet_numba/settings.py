"""What Numba's environment variables ask of this backend."""

from __future__ import annotations

import os
import sys

from xpnet import BackendUnavailableError

REMEDY = "reinstall it with `pip install --force-reinstall numba`"

# These choose threads, folders and messages; none changes code.
_WITHOUT_CODE = (
    "NUMBA_CACHE_",
    "NUMBA_CAPTURED_ERRORS",
    "NUMBA_COLOR_SCHEME",
    "NUMBA_CUDA_",
    "NUMBA_DISABLE_CUDA",
    "NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING",
    "NUMBA_DISABLE_PERFORMANCE_WARNINGS",
    "NUMBA_ENABLE_CUDASIM",
    "NUMBA_FULL_TRACEBACKS",
    "NUMBA_NUM_THREADS",
    "NUMBA_SHOW_HELP",
    "NUMBA_THREADING_LAYER",
    "NUMBA_WARNINGS",
)


def of_code() -> dict[str, str]:
    """Return the variables that may change what Numba compiles: machine code on disk is for their values."""
    return {
        key: value
        for key, value in os.environ.items()
        if key.startswith("NUMBA_") and not key.startswith(_WITHOUT_CODE)
    }


def check() -> None:
    """Raise a `BackendUnavailableError` if Numba cannot be imported with its settings."""
    threads = _number("NUMBA_NUM_THREADS", None)
    if threads is not None and threads < 1:
        raise BackendUnavailableError(
            "numba",
            f"cannot be used: NUMBA_NUM_THREADS is {os.environ['NUMBA_NUM_THREADS']!r}, "
            "and Numba takes a number above 0",
            "set it to how many threads may be used, or unset it",
        )


def interpreted() -> bool:
    """Return whether Numba is asked to compile nothing."""
    return bool(_setting("NUMBA_DISABLE_JIT", "DISABLE_JIT", 0))


def why_no_steps() -> str:
    """Return why steps cannot be compiled with Numba's settings; empty if they can."""
    if interpreted():
        return (
            "NUMBA_DISABLE_JIT is set: nothing is compiled, and all functions are NumPy's; unset it for speed"
        )
    checked = _setting("NUMBA_BOUNDSCHECK", "BOUNDSCHECK", None)
    for name, attribute in (
        ("NUMBA_BOUNDSCHECK", "BOUNDSCHECK"),
        ("NUMBA_ENABLE_PROFILING", "ENABLE_PROFILING"),  # sets DEBUGINFO_DEFAULT too, so it is asked first
        ("NUMBA_DEBUGINFO", "DEBUGINFO_DEFAULT"),
    ):
        if checked != 0 and _setting(name, attribute, 0):
            return f"{name} is set: kernels check indices, which compiled steps cannot; unset it for speed"
    return ""


def _setting(name: str, attribute: str, default: int | None) -> int | None:
    """Return a setting as Numba has it or, before its import, will have it."""
    config = sys.modules.get("numba.core.config")
    return _number(name, default) if config is None else getattr(config, attribute)


def _number(name: str, default: int | None) -> int | None:
    # Numba warns, and takes its own default.
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return default
