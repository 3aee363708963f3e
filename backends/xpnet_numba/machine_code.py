"""Machine code of compiled steps, loaded from disk without Numba, whose import takes longer than an epoch.

A step needs small functions, which are called by address. Numba compiles one when it is first needed, and its
object code is written to a file. Loading that needs only LLVM, which llvmlite has. The process that compiled
the code loads it in the same way, so that all processes run the same instructions.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm

from xpnet.replay.trace import NotReplayableError
from xpnet_numba import forks, kept, lazy, settings

_SYMBOL = "xpnet_entry"

_addresses: dict[tuple[str, str], int] = {}
_in_use: list[Any] = []


def function(name: str, dtype: Any, numbers: int) -> Callable[..., None]:
    """Return an entry as a function that Python can call.

    Parameters
    ----------
    name : str
        A key of `kernels.compiled.ENTRIES`.
    dtype : NumPy dtype
    numbers : int
        How many whole numbers it takes; a zero follows if `dtype` is a floating-point one.
    """
    zero: Any = {"float32": [ctypes.c_float], "float64": [ctypes.c_double]}.get(dtype.name, [])
    # As pointers, because integers of a declared size take 0.25 µs longer.
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * numbers, *zero)(address(name, dtype))


def address(name: str, dtype: Any) -> int:
    """Return the address of an entry for a dtype; it is compiled if it is not found on disk.

    Raises
    ------
    NotReplayableError
        If Numba's settings ask for code that raises errors, which could not be caught.
    """
    _check_settings()
    with forks.compiling:
        key = name, dtype.name
        if key not in _addresses:
            _addresses[key] = _load_kept(*key) or _compile(name, dtype)
        return _addresses[key]


def _load_kept(name: str, dtype: str) -> int | None:
    code = kept.read(name, dtype)
    if code is not None:
        with contextlib.suppress(Exception):  # Whatever the reason, what cannot be loaded is compiled.
            return _load(code)
    return None


def _compile(name: str, dtype: Any) -> int:
    objects = lazy.load("objects")
    _check_settings()  # Numba has read all of them by now.
    compiled = objects.compile_entry(name, dtype)
    try:
        code = objects.emit(compiled, _SYMBOL, _machine())
        found = _load(code)
    except Exception:  # Whatever the reason, Numba has loaded the function too.
        _in_use.append(compiled)
        return int(compiled.address)
    kept.write(name, dtype.name, code)
    return found


def _check_settings() -> None:
    reason = settings.why_no_steps()
    if reason:
        raise NotReplayableError(reason)


def _load(code: bytes) -> int:
    # An engine for each: a single one would find the first of several functions of one name.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    # Not `finalize_object`, which first compiles the empty module, in 0.6 ms.
    found = engine.get_function_address(_SYMBOL)
    if not found:
        raise RuntimeError(f"the object code has no {_SYMBOL}")
    _in_use.append(engine)
    return int(found)


@functools.cache
def _machine() -> Any:
    """Return LLVM's description of this processor, with Numba's options."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    name, features = kept.cpu()
    return target.create_target_machine(
        cpu=name,
        features=features,
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )
