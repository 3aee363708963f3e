"""Check that a results file has the kinds of values that its schema describes.

Only the keywords that the schemas here use are supported. A missing value is an error only where it is
needed, because older files have fewer.
"""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

SCHEMA = pathlib.Path(__file__).with_name("schema.json")
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def fault(value: Any, path: pathlib.Path = SCHEMA) -> str | None:
    """Return what is wrong with the first value of the wrong kind or range in a results file, or None."""
    return _fault("it", value, document(path), document(path))


@functools.cache
def document(path: pathlib.Path = SCHEMA) -> dict[str, Any]:
    """Return a schema as JSON."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _fault(name: str, value: Any, schema: dict[str, Any], root: dict[str, Any]) -> str | None:
    if "$ref" in schema:
        return _fault(name, value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    own = _own_fault(name, value, schema)
    if own is not None:
        return own
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        parts = [(f"{key!r}", item, known.get(key, others)) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(f"an item of {name}", item, schema.get("items", True)) for item in value]
    found = (_fault(*part, root) for part in parts if isinstance(part[2], dict))
    return next((each for each in found if each is not None), None)


def _own_fault(name: str, value: Any, schema: dict[str, Any]) -> str | None:
    """Return what is wrong with a value itself, not with its items."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{name} is not of type {' or '.join(kinds)}"
    if value not in schema.get("enum", [value]):
        return f"{name} is none of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        return f"{name} is empty"
    if isinstance(value, int | float):
        least, most = schema.get("minimum", value), schema.get("maximum", value)
        if not least <= value <= most or value <= schema.get("exclusiveMinimum", value - 1):
            return f"{name} is out of range"
    return None


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and not isinstance(value, bool)
