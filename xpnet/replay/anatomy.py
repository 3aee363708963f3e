"""Inspection of Python objects: the contents of functions, methods and slots, and the names in code."""

from __future__ import annotations

import collections
import dis
import functools
import types
import weakref
from collections.abc import Iterator
from typing import Any

# Python calls the other special methods by itself in a step; these run before it or do not affect it.
_NOT_IN_A_STEP = frozenset(
    f"__{name}__"
    for name in (
        *("init", "new", "post_init", "init_subclass", "class_getitem", "set_name", "setattr", "delattr"),
        *("del", "repr", "str", "format", "dir", "sizeof", "reduce", "reduce_ex", "getstate", "setstate"),
        *("copy", "deepcopy", "replace", "eq", "hash"),
    )
)
_DESCRIPTORS = (
    *(types.MemberDescriptorType, types.GetSetDescriptorType),
    type(vars(collections.namedtuple("_Pair", "first second"))["first"]),
)
_READS_A_GLOBAL = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
MISSING = object()


def package(x: Any) -> str:
    """Return the name of the package of a module, class or function; empty if unknown."""
    module = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else ""


def parts(x: Any) -> list[Any] | None:
    """Return the objects that a built-in wrapper (a method, a partial, ...) refers to; None for others."""
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, functools.partial | functools.partialmethod):
        return [x.func, *x.args, x.keywords]
    if isinstance(x, staticmethod | classmethod):
        return [x.__func__]
    if isinstance(x, property):
        return [x.fget]
    if isinstance(x, _DESCRIPTORS):
        return []
    if isinstance(x, functools.cached_property):
        return [x.func]
    if isinstance(x, types.BuiltinFunctionType | types.MethodWrapperType):
        return [] if isinstance(x.__self__, types.ModuleType) else [x.__self__]
    if isinstance(x, weakref.ReferenceType):
        return [x()]
    if (
        callable(x)
        and not isinstance(x, type | types.FunctionType)
        and "__wrapped__" in getattr(x, "__dict__", ())
    ):
        return [x.__wrapped__]
    return None


def content(cell: types.CellType) -> Any:
    """Return the value of a closure's variable, or `MISSING`."""
    try:
        return cell.cell_contents
    except ValueError:  # The variable has no value yet.
        return MISSING


class Slots:
    """The attributes of an object in its slots, read like a dict."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or `default` if it has no value yet."""
        return getattr(self._x, name, default)


def values(space: Any, names: list[str]) -> list[Any]:
    """Return a mapping's values for these names, `MISSING` for absent ones."""
    return [space.get(name, MISSING) for name in names]


def names(code: types.CodeType) -> Iterator[str]:
    """Yield the names of globals and attributes in code and in the functions that it defines."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names(constant)
        elif isinstance(constant, tuple):  # `case Rule(rate=r)` keeps names of attributes here.
            yield from (name for name in constant if isinstance(name, str))


def imports(code: types.CodeType) -> set[str]:
    """Return the names of the modules that code imports."""
    return {name for operation, name in _operations(code) if operation == "IMPORT_NAME"}


def globals_of(code: types.CodeType) -> set[str]:
    """Return the names that code reads as globals or built-ins, not as attributes."""
    return {name for operation, name in _operations(code) if operation in _READS_A_GLOBAL}


def _operations(code: types.CodeType) -> Iterator[tuple[str, Any]]:
    yield from ((instruction.opname, instruction.argval) for instruction in dis.get_instructions(code))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _operations(constant)


def is_special(name: str, x: Any, *, is_made: bool) -> bool:
    """Return whether Python may call this function of a class by itself in a step."""
    is_special = name.startswith("__") and name.endswith("__") and isinstance(x, types.FunctionType)
    return is_special and (is_made or name not in _NOT_IN_A_STEP)


def slots_of(x: Any) -> list[str] | None:
    """Return the names of an object's slots; None if its classes declare none."""
    classes = [vars(cls) for cls in type(x).__mro__ if "__slots__" in vars(cls)]
    if not classes:
        return None
    return [
        name for space in classes for name, d in space.items() if isinstance(d, types.MemberDescriptorType)
    ]
