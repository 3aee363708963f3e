"""Object code that runs without Numba."""

import itertools
import re
from typing import Any

import numba
from llvmlite import binding as llvm
from numba import types

# Entries register themselves at import.
from xpnet_numba.kernels import (  # noqa: F401
    augmentation,
    batch_normalisation,
    convolution,
    input_gradient,
    interpreter,
    normalisation,
    operations,
    products,
    random,
    shapes,
    steps,
    synchronised,
    windows,
)
from xpnet_numba.kernels.compiled import ENTRIES, FLAGS

# Functions of Numba and Python for exceptions and allocated memory. No entry raises or allocates.
_NEVER_CALLED = (
    r"Py\w+|NRT_Free|NRT_MemInfo_call_dtor|numba_do_raise|numba_gil_ensure|numba_gil_release|numba_unpickle"
    r"|numba_runtime_build_excinfo_struct"
)
_DECLARED = re.compile(rf"^declare (.*@(?:{_NEVER_CALLED})\(.*)$", re.MULTILINE)
_DATA = re.compile(r"^(@Py\w+) = external .*?global (\w+)", re.MULTILINE)
_FOUND_ANYWHERE = re.compile(r"llvm\..*|sched_yield|(exp|log|log1p|sqrt|fma)f?")


def compile_entry(name: str, dtype: Any) -> Any:
    """Return an entry for arrays of a dtype as a `numba.cfunc`."""
    function = ENTRIES[name]
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    arguments = [numba.from_dtype(dtype) if p == "zero" else types.int64 for p in parameters]
    return numba.cfunc(types.void(*arguments), **FLAGS)(function)


def emit(compiled: Any, symbol: str, machine: Any) -> bytes:
    """Return the object code of a `numba.cfunc`, whose function is `symbol` there.

    Raises
    ------
    ValueError
        If it needs functions that only Numba has.
    """
    text = compiled.inspect_llvm().replace(compiled.native_name, symbol)
    text = _DECLARED.sub(r"define internal \1 { call void @llvm.trap() unreachable }", text)
    module = llvm.parse_assembly(
        _DATA.sub(r"\1 = internal global \2 0", text) + "\ndeclare void @llvm.trap()"
    )
    used = itertools.chain(module.functions, module.global_variables)
    missing = [x.name for x in used if x.is_declaration and not _FOUND_ANYWHERE.fullmatch(x.name)]
    if missing:
        raise ValueError(f"{compiled.__name__} needs {', '.join(missing)}")
    return machine.emit_object(module)
