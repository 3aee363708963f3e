"""Settings of a training and what its data are, as JSON, and how two of them differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet.datasets import Dataset
from xpnet.descriptions import describe
from xpnet.errors import shortened
from xpnet.models import Sequential

_MOST_SHOWN = 60  # characters of a setting in an error
_ARRAYS = ("inputs", "images"), ("targets", "labels"), ("sample_weight",)


def described(value: Any) -> Any:
    """Return a setting as JSON; two settings that are equal have the same.

    Of an object that is neither data nor a dataclass, only the name of its class, or its own, is compared.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Sequential):
        return describe(value)
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return {"kind": "array", **_array(np.asarray(value)), "sha256": _sha256([np.asarray(value)])}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"kind": type(value).__name__, **fields}
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def fingerprint(dataset: Dataset | None) -> dict[str, Any] | None:
    """Return what identifies a data set, as JSON: shapes, dtypes, names of classes and the arrays' SHA-256.

    47 MB take 0.04 s on a processor with instructions for SHA-256.
    """
    if dataset is None:
        return None
    found = {}
    for names in _ARRAYS:
        values = [getattr(dataset, name) for name in names if getattr(dataset, name, None) is not None]
        if values:
            found[names[0]] = values[0]
    classes = None if dataset.classes is None else list(dataset.classes)
    shapes = {name: f"{x.dtype.name} of shape {x.shape}" for name, x in found.items()}
    return {"kind": "Dataset", **shapes, "classes": classes, "sha256": _sha256(found.values())}


def differences(found: Any, asked: Any, name: str) -> Iterator[str]:
    """Yield how the setting `name` of a file differs from the one that was asked for."""
    if isinstance(found, dict) and isinstance(asked, dict) and _kind(found) == _kind(asked):
        for key in [*found, *(key for key in asked if key not in found)]:
            yield from differences(found.get(key), asked.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(found, list) and isinstance(asked, list) and len(found) == len(asked):
        for i, (theirs, own) in enumerate(zip(found, asked, strict=True)):
            yield from differences(theirs, own, f"{name}[{i}]")
    elif found != asked and name.endswith(".sha256"):
        yield f"`{name.removesuffix('.sha256')}` has other values"
    elif found != asked:
        yield f"`{name}` is {_shown(found)} there and {_shown(asked)} here"


def _array(x: np.ndarray) -> dict[str, Any]:
    return {"shape": list(x.shape), "dtype": x.dtype.name}


def _sha256(arrays: Any) -> str:
    digest = hashlib.sha256()
    for x in arrays:
        digest.update(json.dumps(_array(x)).encode())
        digest.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _kind(description: dict[str, Any]) -> Any:
    return description.get("kind", description.get("layer", description.get("own")))


def _shown(value: Any) -> str:
    return shortened(_text(value), _MOST_SHOWN)


def _text(value: Any) -> str:
    """Return a description as its object is written, as far as that can be told."""
    if isinstance(value, dict) and _kind(value) is not None:
        fields = {k: v for k, v in value.items() if k not in ("kind", "layer", "own", "layers")}
        inner = [*(f"{k}={_text(v)}" for k, v in fields.items()), *map(_text, value.get("layers", ()))]
        return f"{_kind(value)}({', '.join(inner)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)
