"""Nested dicts, tuples and lists of arrays and numbers, as JSON and the tensors of a safetensors file."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.namespace import Namespace

Array = Any
Tensors = dict[str, np.ndarray]

_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
_LARGEST = 2**64  # Whole numbers that `from_json` reads are below it.


def pack(xp: Namespace, value: Any, name: str) -> tuple[Any, Tensors]:
    """Return `value` as JSON that names its arrays, and copies of these arrays.

    Parameters
    ----------
    value : None, str, number, array, or dict, tuple or list of such
        The arrays are those of `xp` or NumPy's. The keys of a dict are text or whole numbers.
    name : str
        The names of all arrays begin with it; it also names `value` in errors.

    Raises
    ------
    TypeError, ValueError
        If `value` has a part that cannot be stored.
    """
    tensors: Tensors = {}
    return _packed(xp, value, name, tensors), tensors


def unpack(value: Any, tensors: Tensors, as_array: Callable[[np.ndarray], Array]) -> Any:
    """Return what was packed.

    Parameters
    ----------
    as_array : callable
        Makes arrays of `xp`; those that were NumPy's on another library stay so.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not what `pack` returned.
    """
    if isinstance(value, list):
        return [unpack(item, tensors, as_array) for item in value]
    if not isinstance(value, dict):
        return value
    (kind,) = value.keys() & {"dict", "tuple", "float", "array"}
    found = value[kind]
    if kind == "dict":
        return {key: unpack(item, tensors, as_array) for key, item in found}
    if kind == "tuple":
        return tuple(unpack(item, tensors, as_array) for item in found)
    if kind == "float":
        return float(found)
    x = tensors[found]
    if [list(x.shape), x.dtype.name] != [value["shape"], value["dtype"]]:
        raise ValueError(f"{found!r} is {x.dtype.name} of shape {x.shape}")
    return x if value["host"] else as_array(x)


def _packed(xp: Namespace, value: Any, name: str, tensors: Tensors) -> Any:
    if isinstance(value, dict):
        if not all(isinstance(key, str) or type(key) is int for key in value):
            raise TypeError(f"`{name}` has keys that are neither text nor whole numbers: {list(value)!r}")
        parts = [[key, _packed(xp, item, f"{name}/{key}", tensors)] for key, item in value.items()]
        return {"dict": parts}
    if type(value) in (list, tuple):
        items = [_packed(xp, item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if value is None or isinstance(value, str | bool):
        return value
    if type(value) is int:
        if abs(value) >= _LARGEST:
            raise ValueError(f"`{name}` has more than 64 bits, which a checkpoint cannot store")
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    x, host = _as_host(xp, value, name)
    if x.dtype.name not in _DTYPES:
        raise TypeError(f"`{name}` has dtype {x.dtype}, which a checkpoint cannot store")
    while name in tensors:  # as of {"a/b": x, "a": {"b": y}}
        name += "'"
    tensors[name] = x
    return {"array": name, "shape": list(x.shape), "dtype": x.dtype.name, "host": host}


def _as_host(xp: Namespace, value: Any, name: str) -> tuple[np.ndarray, bool]:
    """Return a copy of an array, and whether it is NumPy's though `xp` is another library."""
    try:
        xp.check_array(name, value)
    except TypeError as e:
        if not isinstance(value, np.ndarray | np.generic):
            raise TypeError(
                f"`{name}` holds a {type(value).__name__}, which a checkpoint cannot store; "
                "use dicts, tuples and lists of arrays and numbers"
            ) from e
        return np.array(value, order="C"), True
    return np.array(xp.to_host(value), order="C"), False
