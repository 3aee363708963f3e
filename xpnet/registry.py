"""Classes of one's own that files may name: `register` makes a class known by its name.

A file holds the name of a class and its fields, and never code. Loading imports nothing: import the module
that registers the class before.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from xpnet.layers import LAYERS
from xpnet.losses import KINDS
from xpnet.models import Residual, Sequential
from xpnet.optim import OPTIMIZERS
from xpnet.schedules import SCHEDULES

Kind = TypeVar("Kind", bound=type[Any])

GROUPS: dict[str, Any] = {"Sequential": Sequential, "Residual": Residual}
"""What has layers of its own in order, by the name of the class."""

LIBRARY: dict[str, Any] = {
    **LAYERS,
    **GROUPS,
    **{kind.__name__: kind for kind in (*OPTIMIZERS.values(), *SCHEDULES.values(), *KINDS.values())},
}
"""The classes of `xpnet` that files may name."""

_registered: dict[str, type[Any]] = {}


def register(kind: Kind) -> Kind:
    """Return a dataclass as it is, after making it known by name; also a decorator.

    An object of the class is saved by the class's name and its fields, and built again from them when it is
    loaded. Fields can be numbers, text, truth values, None, tuples of these, and layers that can be saved.

    A frozen dataclass is taken to be plain data: calling it changes nothing besides its arguments. A training
    may then call it on copies first. In training, a layer of a registered class is given a `stream` of random
    numbers, unless the class has ``draws = False``.

    A class of the same module and the same qualified name replaces the earlier one, as when a cell of a
    notebook is run again.

    Raises
    ------
    TypeError
        If it is not a dataclass.
    ValueError
        If `xpnet` or another registered class has that name.
    """
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise TypeError(
            f"{kind!r} is not a dataclass; "
            "write `@dataclasses.dataclass(frozen=True)` below `@xpnet.register`"
        )
    name = kind.__name__
    if LIBRARY.get(name, kind) is not kind:
        raise ValueError(f"`xpnet.{name}` exists already; choose another name for {full_name(kind)!r}")
    there = _registered.get(name, kind)
    if (there.__module__, there.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"{full_name(there)!r} is registered already; choose another name for {full_name(kind)!r}"
        )
    _registered[name] = kind
    return kind


def full_name(kind: type[Any]) -> str:
    """Return the module and the name of a class, as files have it: ``"package.module:MyLayer"``."""
    return f"{kind.__module__}:{kind.__name__}"


def find(name: str) -> type[Any] | None:
    """Return the registered class of a full name; None if there is none."""
    kind = _registered.get(name.rpartition(":")[2])
    return kind if kind is not None and is_same(full_name(kind), name) else None


def is_same(one: str, other: str) -> bool:
    """Return whether two full names may be those of one class.

    The module of a script is ``"__main__"`` while it runs, and another one where it is imported.
    """
    modules, names = zip(*(name.rpartition(":")[::2] for name in (one, other)), strict=True)
    return names[0] == names[1] and (modules[0] == modules[1] or "__main__" in modules)


def is_registered(kind: type[Any]) -> bool:
    """Return whether this is a registered class, and not a subclass of one."""
    return _registered.get(kind.__name__) is kind


def is_plain_data(kind: Any) -> bool:
    """Return whether this is a registered class whose objects cannot change."""
    return isinstance(kind, type) and is_registered(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
