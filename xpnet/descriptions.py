"""Parts of a model or a training as JSON: the names of their classes and their fields, and no code."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.errors import shortened
from xpnet.files import from_json, json_text
from xpnet.layers import LAYERS
from xpnet.models import MOST_LEVELS
from xpnet.registry import GROUPS, LIBRARY, find, full_name, is_registered, is_same

_LAYERS = {**LAYERS, **GROUPS}
_PARTS = {name: kind for name, kind in LIBRARY.items() if name not in _LAYERS}
_MOST_BITS = 64  # of a whole number, see `from_json`
_FULL_NAME = re.compile(r"(\w+(?:\.\w+)*):(\w+)")


class UnknownPartError(Exception):
    """A description names a class that is not known here.

    Attributes
    ----------
    name : object
        Of the class, as the file has it.
    cause : str
        What is wrong, as a clause that follows the name.
    remedy : str
        What to import; empty if the file does not say.
    """

    def __init__(self, name: Any, cause: str, remedy: str = "") -> None:
        super().__init__(name, cause, remedy)
        self.name, self.cause, self.remedy = name, cause, remedy


def describe(part: Any) -> dict[str, Any]:
    """Return what `build` makes a layer, an optimizer or another part from.

    For an object of a class that is neither from `xpnet` nor registered, it has only the name and the fields
    as text, to compare them.

    Raises
    ------
    TypeError
        If a field cannot be written as JSON.
    """
    kind = type(part)
    name = kind.__name__
    if LIBRARY.get(name) is kind:
        if name in GROUPS:
            return {"layer": name, "layers": [describe(layer) for layer in part.layers]}
        if name in LAYERS:
            return {"layer": name, **_options_of(part)}
        return {"part": name, "fields": _fields(part)}
    return _registered(part) if is_registered(kind) else _own(part)


def _options_of(layer: Any) -> dict[str, Any]:
    """Return the fields of a layer of `xpnet`.

    One that earlier versions do not have is left out if it has its default, so that these read the file too.
    """
    new = [field for field in dataclasses.fields(layer) if field.metadata.get("is_new")]
    left_out = [field.name for field in new if getattr(layer, field.name) == field.default]
    return {name: value for name, value in dataclasses.asdict(layer).items() if name not in left_out}


def fits(part: Any, description: Any) -> bool:
    """Return whether a description, as it was read from JSON, is that of `part`.

    It may have been written before the class was registered.
    """
    found = description if isinstance(description, dict) else {}
    if "own" in found:
        return _as_read(_own(part)) == found
    if "registered" in found:
        if not dataclasses.is_dataclass(part):
            return False
        name = full_name(type(part))
        return is_same(name, str(found["registered"])) and _as_read(_fields(part)) == found.get("fields")
    layers = found.get("layers")
    if isinstance(layers, list) and GROUPS.get(str(found.get("layer"))) is type(part):
        return len(layers) == len(part.layers) and all(map(fits, part.layers, layers))
    return bool(_as_read(describe(part)) == description)


def build(description: Any, levels: int = MOST_LEVELS) -> Any:
    """Return the part that a description stands for, with models nested at most `levels` deep.

    Raises
    ------
    UnknownPartError
        If it has a class that is neither from `xpnet` nor registered.
    ValueError, KeyError, TypeError
        If it describes nothing, or if a class does not take such fields.
    """
    options = dict(description)
    if "own" in options:
        raise UnknownPartError(options["own"], "whose class is not from xpnet")
    if levels < 0:
        raise ValueError(f"models are nested more than {MOST_LEVELS} deep")
    if "registered" in options:
        kind = _found(options.pop("registered"))
        return _made(kind, _options(options, levels))
    if "part" in options:
        kind = _in(_PARTS, "part", options.pop("part"))
        return kind(**_options(options, levels))
    kind = _in(_LAYERS, "layer", name := options.pop("layer"))
    if name in GROUPS:
        return kind(*(build(layer, levels - 1) for layer in options["layers"]))
    return kind(**options)


def _in(kinds: Mapping[str, Any], what: str, name: Any) -> Any:
    if name not in kinds:
        raise ValueError(f"unknown {what} {name!r}")
    return kinds[name]


def _found(name: Any) -> type[Any]:
    """Return a registered class, or raise an error that says what to import."""
    whole = _FULL_NAME.fullmatch(name) if isinstance(name, str) else None
    if whole is None:
        raise ValueError(f"{name!r} is no name of a class")
    kind = find(name)
    if kind is not None:
        return kind
    module = shortened(whole[1], 80)
    where = f"`{module}` defines it: import that"
    if module == "__main__":
        where = "a script or a notebook defined it: run that"
    raise UnknownPartError(whole[2], "which is not registered", where)


def _made(kind: type[Any], options: dict[str, Any]) -> Any:
    """Return an object of a registered class with these fields, or raise a ValueError."""
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    unknown = [name for name in options if name not in names]
    if unknown:
        raise ValueError(f"{kind.__name__!r} has the fields {names}, but not {unknown[0]!r}")
    try:
        return kind(**options)
    except Exception as e:  # of a user's code, which may raise anything
        raise ValueError(f"{kind.__name__!r} does not take its fields: {type(e).__name__}: {e}") from e


def _registered(part: Any) -> dict[str, Any]:
    return {"registered": full_name(type(part)), "fields": _fields(part)}


def _own(part: Any) -> dict[str, Any]:
    return {"own": type(part).__name__, "fields": _text(part)}


def _text(part: Any) -> str | None:
    """Return the fields of an unregistered object as text, to compare them; None if they may change."""
    made = getattr(part, "__dataclass_params__", None)
    if made is None or not made.frozen:
        return None
    fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part) if field.repr}
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(fields))  # addresses, which differ between processes


def _fields(part: Any) -> dict[str, Any]:
    """Return the fields that an object is made of, as JSON."""
    names = [field.name for field in dataclasses.fields(part) if field.init]
    return {name: _value(part, name, getattr(part, name)) for name in names}


def _value(part: Any, name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int and value.bit_length() <= _MOST_BITS:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is tuple:
        return [_value(part, name, item) for item in value]
    if LIBRARY.get(type(value).__name__) is type(value) or is_registered(type(value)):
        return describe(value)
    raise TypeError(
        f"`{name}` of {shortened(repr(part), 100)} is {shortened(repr(value), 60)}, which cannot be saved; "
        "use finite numbers, text, None, tuples of these and registered layers"
    )


def _options(description: dict[str, Any], levels: int) -> dict[str, Any]:
    """Return the fields that `_fields` wrote."""
    fields = description["fields"]
    if not isinstance(fields, dict):
        raise TypeError(f"fields are {shortened(repr(fields), 60)}, not a mapping")
    return {name: _read(value, levels - 1) for name, value in fields.items()}


def _read(value: Any, levels: int) -> Any:
    if isinstance(value, list):
        return tuple(_read(item, levels) for item in value)
    return build(value, levels) if isinstance(value, dict) else value


def _as_read(description: Any) -> Any:
    """Return a description as it comes back from a file."""
    return from_json(json_text(description))
