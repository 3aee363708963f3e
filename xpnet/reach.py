"""A walk through what a step reaches besides its arguments, which finds what may change."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import dis
import fractions
import functools
import operator
import pathlib
import random
import re
import sys
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy

from xpnet.namespace import Namespace
from xpnet.random import Stream
from xpnet.recording import is_array

# They cannot change, and are compared by value.
_PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), type(...), range, slice, numpy.generic, numpy.dtype),
    *(datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction),
    *(pathlib.PurePath, re.Pattern, types.CodeType),
)
_CONTAINERS = dict, list, tuple, set, frozenset, collections.deque, types.MappingProxyType
_RANDOM = random.Random, numpy.random.Generator, numpy.random.BitGenerator, numpy.random.RandomState
# What may stand for any name in code.
_ANY_NAME = frozenset(
    ("getattr", "hasattr", "vars", "dir", "__dict__", "__getattribute__", "attrgetter", "asdict", "astuple")
)
# Python calls other special methods by itself. These run before a step, or have no part in one.
_NOT_IN_A_STEP = frozenset(
    f"__{name}__"
    for name in (
        *("init", "new", "post_init", "init_subclass", "class_getitem", "set_name", "setattr", "delattr"),
        *("del", "repr", "str", "format", "dir", "sizeof", "reduce", "reduce_ex", "getstate", "setstate"),
        *("copy", "deepcopy", "replace", "eq", "hash"),
    )
)
# An attribute may have the name of a global or of a module, which need not be reached then.
_GLOBAL = "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"
_IMPORT = ("IMPORT_NAME",)
# So much is compared before each step that is replayed: a few microseconds.
_MOST_BYTES = 2**16  # of an array
_MOST_ITEMS = 1000
_MOST_OBJECTS = 2000
_MISSING = object()


class Watch:
    """Values that may change: how to read them, their names, and what they were."""

    def __init__(self, read: Callable[[], list[Any]], name: str, names: Iterable[str] = ()) -> None:
        self._read = read
        self._name = name
        self._names = [*names]
        self._seen = read()

    def change(self) -> str:
        """Return the name of a value that has changed; empty if none has."""
        found = self._read()
        if len(found) != len(self._seen):
            return self._name
        if all(map(operator.is_, found, self._seen)):
            return ""
        for i, (value, seen) in enumerate(zip(found, self._seen, strict=True)):
            if value is not seen and not _is_same(value, seen):
                return self._names[i] if self._names else self._name
        return ""


def _is_same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and isinstance(a, _PLAIN) and bool(a == b or (a != a and b != b))


class Search:
    """A walk through all that a step reaches. Of an object, it looks at the attributes called `names`.

    Attributes
    ----------
    names : set of str
        With those that the code it came upon names.
    """

    def __init__(self, xp: Namespace, names: set[str]) -> None:
        self.names = {*names}
        self.own = True
        self.refusal = ""
        self.watches: list[Watch] = []
        self.streams: list[Stream] = []
        self._wanted = names
        self._any_name = not _ANY_NAME.isdisjoint(names)
        library = getattr(xp.library, "__name__", "").partition(".")[0]
        self._libraries = sys.stdlib_module_names | {"numpy", "array_api_compat", library}
        self._classes: set[tuple[type, bool]] = set()
        self._seen = {id(x): x for x in (xp.nn, *vars(xp.nn).values())}
        self._queue: collections.deque[tuple[Any, str, bool]] = collections.deque()

    def look(self, step: Any) -> None:
        """Look at a step, and at all that is reached from it."""
        self._put([(step, "the step")], True)
        while self._queue:
            x, name, watched = self._queue.popleft()
            if isinstance(x, (*_PLAIN, Namespace)) or id(x) in self._seen:
                continue
            self._seen[id(x)] = x
            if len(self._seen) > _MOST_OBJECTS:
                self._refuse(f"the step reaches more than {_MOST_OBJECTS} objects besides its arguments")
                return
            self._look_at(x, name, watched)

    def _look_at(self, x: Any, name: str, watched: bool) -> None:
        parts = _parts(x)
        if parts is not None:
            self._put([(part, name) for part in parts], watched)
        elif isinstance(x, Stream):
            self.streams.append(x)
        elif isinstance(x, _RANDOM):
            self._refuse(f"the step reaches `{name}`, a source of random numbers on the host")
        elif _is_array(x):
            self._look_at_array(x, name, watched)
        elif isinstance(x, types.FunctionType):
            self._look_at_function(x)
        elif isinstance(x, types.ModuleType):
            self._look_at_module(x)
        elif isinstance(x, type):
            metaclass: Any = type(x)
            self._look_at_classes((*x.__mro__, *metaclass.__mro__), is_made=True)
        elif isinstance(x, _CONTAINERS):
            self._look_at_items(x, name, watched)
        else:
            self._look_at_object(x, name)

    def _look_at_array(self, x: Any, name: str, watched: bool) -> None:
        # A step must not read values from those of a device, where it would wait for them.
        if not watched or not isinstance(x, numpy.ndarray):
            return
        if x.dtype.hasobject:
            self._put([(x.tolist(), name)], watched)
        self._watch_bytes(x.nbytes, x.tobytes, name)

    def _watch_bytes(self, size: int, read: Callable[[], bytes], name: str) -> None:
        if size <= _MOST_BYTES:
            self.watches.append(Watch(lambda: [read()], name))
        else:
            self._refuse(f"the step reaches `{name}`, which is too large to be watched; pass it")

    def _look_at_function(self, f: types.FunctionType) -> None:
        if self._is_of_a_library(f):
            return
        own = _is_own(f)
        self.own &= own
        code = {*_names(f.__code__)}
        self.names |= code
        cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))
        cells.pop("__class__", None)  # of `super()`
        variables = {name: _content(cell) for name, cell in cells.items()}
        self._put(((x, name) for name, x in variables.items()), not own)
        self._put(
            ((x, f.__name__) for x in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values())), not own
        )
        if own:
            return
        if f.__defaults__ or f.__kwdefaults__:
            read = lambda: [f.__defaults__, *(f.__kwdefaults__ or {}).values()]  # noqa: E731
            self.watches.append(Watch(read, f"the defaults of {f.__name__}"))
        if cells:
            held = [*cells.values()]
            self.watches.append(Watch(lambda: [_content(cell) for cell in held], "", cells))
        self._watch_names(
            f.__globals__, filter(f.__globals__.__contains__, _operands(f.__code__, _GLOBAL)), ""
        )
        imported = filter(sys.modules.__contains__, _operands(f.__code__, _IMPORT))
        self._put(((sys.modules[name], name) for name in imported), True)
        self._watch_names(vars(f), filter(self._wants, vars(f)), f"{f.__name__}.")

    def _look_at_module(self, module: types.ModuleType) -> None:
        names = self._wanted & vars(module).keys()
        if self._is_of_a_library(module):  # Its functions are taken not to change, but those that draw.
            kinds = types.ModuleType, types.BuiltinFunctionType, types.MethodType
            found = ((name, vars(module)[name]) for name in names)
            self._put(((x, f"{module.__name__}.{name}") for name, x in found if isinstance(x, kinds)), False)
        elif not _is_own(module):
            self._watch_names(vars(module), names, f"{module.__name__}.")

    def _look_at_classes(self, classes: Iterable[type], *, is_made: bool = False) -> list[str]:
        """Look at what objects of these classes share, and return the names of their attributes."""
        found: list[str] = []
        for cls in classes:
            if self._is_of_a_library(cls):
                continue
            self.own &= _is_own(cls)
            special = [name for name, x in vars(cls).items() if _is_special(name, x, is_made=is_made)]
            names = [*filter(self._wants, vars(cls)), *special]
            found += names
            if (cls, is_made) not in self._classes:
                self._classes.add((cls, is_made))
                self._watch_names(vars(cls), names, f"{cls.__name__}.", watched=not _is_own(cls))
        return found

    def _look_at_items(self, x: Any, name: str, watched: bool) -> None:
        if len(x) > _MOST_ITEMS:
            self._refuse(f"the step reaches `{name}`, whose {len(x)} items are too many to be watched")
            return
        is_mapping = isinstance(x, dict | types.MappingProxyType)
        items = [*x.items()] if is_mapping else [*enumerate(x)]
        self._put(((item, f"{name}[{key!r}]") for key, item in items), watched)
        if is_mapping:
            self._put(((key, name) for key in x), watched)
        if watched and not isinstance(x, tuple | frozenset):
            self.watches.append(Watch((lambda: [*x, *x.values()]) if is_mapping else (lambda: [*x]), name))
        if not self._is_of_a_library(type(x)):
            self._look_at_object(x, name)

    def _look_at_object(self, x: Any, name: str) -> None:
        with contextlib.suppress(TypeError):  # of all that has no memory to show
            self._watch_bytes(memoryview(x).nbytes, lambda: bytes(memoryview(x)), name)
            return
        cls, slots = type(x), _slots(x)
        attributes = getattr(x, "__dict__", None)
        if attributes is None and slots is None:
            if not callable(x) and cls is not object:
                self._refuse(f"the step reaches `{name}`, a {cls.__name__}, which cannot be watched")
            return
        is_of_a_library = self._is_of_a_library(cls)
        shared = self._look_at_classes(cls.__mro__)
        prefix = f"{name}." if is_of_a_library else f"{cls.__name__}."
        watched = not _is_own(cls)
        if attributes is not None:
            # Those that the class has might be hidden by the object's.
            names = [*attributes] if is_of_a_library else [*filter(self._wants, attributes), *shared]
            self._watch_names(attributes, names, prefix, watched=watched)
        if slots:
            self._watch_names(_Slots(x), filter(self._wants, slots), prefix, watched=watched)

    def _watch_names(self, space: Any, names: Iterable[str], prefix: str, *, watched: bool = True) -> None:
        """Look at what a mapping has by these names, and watch it."""
        names = [*dict.fromkeys(names)]
        self._put(((space.get(name), prefix + name) for name in names), watched)
        if watched and names:
            read = functools.partial(_values, space, names)
            self.watches.append(Watch(read, prefix, [prefix + name for name in names]))

    def _put(self, items: Iterable[tuple[Any, str]], watched: bool) -> None:
        self._queue.extend((x, name, watched) for x, name in items)

    def _refuse(self, reason: str) -> None:
        self.refusal = self.refusal or reason

    def _wants(self, name: str) -> bool:
        if self._any_name and not name.startswith(("__", "_abc_")):
            return True
        return name in self._wanted

    def _is_of_a_library(self, x: Any) -> bool:
        return _package(x) in self._libraries


def _package(x: Any) -> str:
    module = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else ""


def _is_own(x: Any) -> bool:
    return _package(x) == "xpnet"


def _parts(x: Any) -> list[Any] | None:
    """Return what an object of Python's own stands for; None if it is another one."""
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, functools.partial | functools.partialmethod):
        return [x.func, *x.args, *x.keywords.values()]
    if isinstance(x, staticmethod | classmethod):
        return [x.__func__]
    if isinstance(x, property):
        return [x.fget]
    if isinstance(x, types.MemberDescriptorType | types.GetSetDescriptorType):
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


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # The variable has no value yet.
        return _MISSING


def _is_array(x: Any) -> bool:
    try:
        return is_array(x)
    except Exception:  # Its own `__getattr__` may raise what it likes.
        return False


class _Slots:
    """The attributes of an object that has no dict."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self._x, name, default)


def _values(space: Any, names: list[str]) -> list[Any]:
    return [space.get(name, _MISSING) for name in names]


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names of globals and attributes in code, and in the functions that it makes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
        elif isinstance(constant, tuple):  # `case Rule(rate=r)` has the names of attributes there.
            yield from (name for name in constant if isinstance(name, str))


def _operands(code: types.CodeType, instructions: Collection[str]) -> Iterator[str]:
    """Yield the names on which instructions of code, and of the functions that it makes, work."""
    yield from (i.argval for i in dis.get_instructions(code) if i.opname in instructions)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _operands(constant, instructions)


def _is_special(name: str, x: Any, *, is_made: bool) -> bool:
    """Return whether a function of a class is one that Python calls by itself in a step."""
    is_special = name.startswith("__") and name.endswith("__") and isinstance(x, types.FunctionType)
    return is_special and (is_made or name not in _NOT_IN_A_STEP)


def _slots(x: Any) -> list[str] | None:
    classes = [vars(cls) for cls in type(x).__mro__ if "__slots__" in vars(cls)]
    if not classes:
        return None
    return [
        name for space in classes for name, d in space.items() if isinstance(d, types.MemberDescriptorType)
    ]
