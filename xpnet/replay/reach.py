"""A search through everything that a step reaches besides its arguments, for values that may change."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import decimal
import fractions
import functools
import operator
import pathlib
import random
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from xpnet.namespace import Namespace
from xpnet.random import Stream
from xpnet.replay import anatomy
from xpnet.replay.tree import is_array

# Immutable, and compared by value.
_PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), type(...), range, slice, numpy.generic, numpy.dtype),
    *(datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction),
    *(pathlib.PurePath, re.Pattern, types.CodeType),
)
_CONTAINERS = dict, list, tuple, set, frozenset, collections.deque, types.MappingProxyType
_RANDOM = random.Random, numpy.random.Generator, numpy.random.BitGenerator, numpy.random.RandomState
# Calls by which code may read any attribute.
_ANY_NAME = frozenset(
    ("getattr", "hasattr", "vars", "dir", "__dict__", "__getattribute__", "attrgetter", "asdict", "astuple")
)
# Calls that read names which do not appear in code.
_BY_TEXT = frozenset(("eval", "exec", "globals", "__import__", "sys.modules", "importlib.import_module"))
# All of this is compared before each replayed step, which takes a few microseconds.
_MOST_BYTES = 2**16  # of an array
_MOST_ITEMS = 1000
_MOST_OBJECTS = 2000


class Watch:
    """Values that may change: how to read them, their names, and their earlier values."""

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


@dataclasses.dataclass(frozen=True)
class Names:
    """The names that users' code reads, and those that code of `xpnet` reads from its own objects."""

    users: set[str]
    own: set[str]


class Search:
    """A search through everything that a step reaches. Of an object, it follows the attributes in `names`.

    Parameters
    ----------
    xp : Namespace
    names : Names
    is_plain : callable
        Returns whether a class counts as one of `xpnet`, together with all that its objects reach.

    Attributes
    ----------
    names : Names
        Together with the names in the code that was found.
    """

    def __init__(self, xp: Namespace, names: Names, is_plain: Callable[[type], bool]) -> None:
        self.names = Names({*names.users}, {*names.own})
        self.own = True
        self._is_plain = is_plain
        self._of_plain = False  # whether what is looked at was reached through an object of a plain class
        self.refusal = ""
        self.watches: list[Watch] = []
        self.streams: list[Stream] = []
        self._wanted = names
        self._any_name = not _ANY_NAME.isdisjoint(names.users)
        library = getattr(xp.library, "__name__", "").partition(".")[0]
        self._libraries = sys.stdlib_module_names | {"numpy", "array_api_compat", library}
        self._classes: set[tuple[type, bool]] = set()
        self._seen = {id(x): x for x in (xp.nn, *vars(xp.nn).values())}
        self._queue: collections.deque[tuple[Any, str, bool, bool]] = collections.deque()
        self._made_of: list[tuple[Any, str, str]] = []  # objects; where their class or code is

    def look(self, step: Any) -> None:
        """Search a step and everything that it reaches."""
        self._put([(step, "the step")], True)
        while self._queue:
            x, name, watched, of_plain = self._queue.popleft()
            if _is_constant(x) or id(x) in self._seen:
                continue
            self._seen[id(x)] = x
            if len(self._seen) > _MOST_OBJECTS:
                self._refuse(f"the step reaches more than {_MOST_OBJECTS} objects besides its arguments")
                return
            self._of_plain = of_plain or self._is_plain(x if isinstance(x, type) else type(x))
            self._look_at(x, name, watched)
        self._watch_what_things_are()

    def _look_at(self, x: Any, name: str, watched: bool) -> None:
        parts = anatomy.parts(x)
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
        elif isinstance(x, operator.attrgetter | operator.methodcaller):
            self.names.users.add("getattr")
        elif isinstance(x, _CONTAINERS):
            self._look_at_items(x, name, watched)
        else:
            self._look_at_object(x, name)

    def _look_at_array(self, x: Any, name: str, watched: bool) -> None:
        # Reading an array on a device would wait for the device.
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
        self.own &= own or self._of_plain
        code = {*anatomy.names(f.__code__)}
        (self.names.own if own else self.names.users).update(code)
        cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))
        cells.pop("__class__", None)  # of `super()`
        variables = {name: anatomy.content(cell) for name, cell in cells.items()}
        self._put(((x, name) for name, x in variables.items()), not own)
        self._put(
            ((x, f.__name__) for x in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values())), not own
        )
        if own:
            return
        self._made_of.append((f, "__code__", f"{f.__name__}.__code__"))
        if f.__defaults__ or f.__kwdefaults__:
            read = lambda: [f.__defaults__, *(f.__kwdefaults__ or {}).values()]  # noqa: E731
            self.watches.append(Watch(read, f"the defaults of {f.__name__}"))
        if cells:
            held = [*cells.values()]
            self.watches.append(Watch(lambda: [anatomy.content(cell) for cell in held], "", cells))
        found = anatomy.globals_of(f.__code__)
        self._watch_names(f.__globals__, found & f.__globals__.keys(), "")
        modules = anatomy.imports(f.__code__) & sys.modules.keys()
        self._put(((sys.modules[name], name) for name in modules), True)
        # A function of `functools.singledispatch` keeps what it calls in `registry`.
        names = [name for name in vars(f) if self._wants(name) or name == "registry"]
        self._watch_names(vars(f), names, f"{f.__name__}.")
        for name in _BY_TEXT & found - f.__globals__.keys():
            self._refuse(f"`{f.__name__}` calls `{name}`, and what that reads cannot be watched")

    def _look_at_module(self, module: types.ModuleType) -> None:
        names = self._wanted.users & vars(module).keys()
        for name in _BY_TEXT & {f"{module.__name__}.{name}" for name in names}:
            self._refuse(f"the step reaches `{name}`, and what that reads cannot be watched")
        if self._is_of_a_library(module):  # Its functions do not change, except those that draw.
            kinds = types.ModuleType, types.BuiltinFunctionType, types.MethodType
            found = ((name, vars(module)[name]) for name in names)
            self._put(((x, f"{module.__name__}.{name}") for name, x in found if isinstance(x, kinds)), False)
        elif not _is_own(module):
            self._watch_names(vars(module), names, f"{module.__name__}.")

    def _look_at_classes(self, classes: Iterable[type], *, is_made: bool = False) -> list[str]:
        """Watch the attributes of these classes, and return their names."""
        found: list[str] = []
        classes = [*classes]
        wants = self._wanted_of(classes)
        for cls in classes:
            if self._is_of_a_library(cls):
                continue
            self.own &= _is_own(cls) or self._of_plain
            special = [name for name, x in vars(cls).items() if anatomy.is_special(name, x, is_made=is_made)]
            names = [*filter(wants, vars(cls)), *special]
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
        with contextlib.suppress(TypeError):  # for objects without a buffer
            self._watch_bytes(memoryview(x).nbytes, lambda: bytes(memoryview(x)), name)
            return
        cls, slots = type(x), anatomy.slots_of(x)
        if any(anatomy.package(base) == "logging" for base in cls.__mro__):
            return  # What a step logs is not part of its results.
        attributes = getattr(x, "__dict__", None)
        if attributes is None and slots is None:
            if not callable(x) and cls is not object:
                self._refuse(f"the step reaches `{name}`, a {cls.__name__}, which cannot be watched")
            return
        is_of_a_library = self._is_of_a_library(cls)
        wants = self._wanted_of(cls.__mro__)
        shared = self._look_at_classes(cls.__mro__)
        prefix = f"{name}." if is_of_a_library else f"{cls.__name__}."
        watched = not _is_own(cls)
        if watched and not is_of_a_library:
            self._made_of.append((x, "__class__", f"{cls.__name__}.__class__"))
        if attributes is not None:
            # An object's attribute may be added later and hide its class's.
            is_whole = is_of_a_library and cls is not types.SimpleNamespace
            names = [*attributes] if is_whole else [*filter(wants, attributes), *shared]
            self._watch_names(attributes, names, prefix, watched=watched)
        if slots:
            self._watch_names(anatomy.Slots(x), filter(wants, slots), prefix, watched=watched)

    def _watch_names(self, space: Any, names: Iterable[str], prefix: str, *, watched: bool = True) -> None:
        """Search and watch a mapping's values for these names."""
        names = [*dict.fromkeys(names)]
        self._put(((space.get(name), prefix + name) for name in names), watched)
        if watched and names:
            read = functools.partial(anatomy.values, space, names)
            self.watches.append(Watch(read, prefix, [prefix + name for name in names]))

    def _watch_what_things_are(self) -> None:
        # Tools that reload modules replace the classes of objects and the code of functions in place.
        made_of, names = self._made_of, [name for _, _, name in self._made_of]
        if made_of:
            self.watches.append(Watch(lambda: [getattr(x, name) for x, name, _ in made_of], "", names))

    def _put(self, items: Iterable[tuple[Any, str]], watched: bool) -> None:
        self._queue.extend((x, name, watched, self._of_plain) for x, name in items)

    def _refuse(self, reason: str) -> None:
        self.refusal = self.refusal or reason

    def _wants(self, name: str) -> bool:
        if self._any_name and not name.startswith(("__", "_abc_")):
            return True
        return name in self._wanted.users

    def _wanted_of(self, classes: Iterable[type]) -> Callable[[str], bool]:
        """Return a function that says by its name whether an attribute of such objects is wanted."""
        if not any(_is_own(x) for cls in classes for x in (cls, *vars(cls).values())):
            return self._wants
        # Code of `xpnet` reads its fields without naming them.
        own = filter(_is_own, classes)
        fields = {name for cls in own for name in vars(cls).get("__dataclass_fields__", ())}
        return lambda name: self._wants(name) or name in self._wanted.own or name in fields

    def _is_of_a_library(self, x: Any) -> bool:
        return anatomy.package(x) in self._libraries


def _is_constant(x: Any) -> bool:
    # An object of a subclass of float may have attributes that change.
    return isinstance(x, Namespace) or (isinstance(x, _PLAIN) and not hasattr(x, "__dict__"))


def _is_own(x: Any) -> bool:
    return anatomy.package(x) == "xpnet"


def _is_array(x: Any) -> bool:
    try:
        return is_array(x)
    except Exception:  # Its own `__getattr__` may raise anything.
        return False
