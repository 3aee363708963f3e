"""Models as files: safetensors with the architecture as JSON in the metadata, and no code."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from xpnet.errors import fitted, shortened
from xpnet.files import from_json, json_text, to_read, write_whole
from xpnet.layer import Params
from xpnet.layers import LAYERS
from xpnet.models import MOST_LEVELS, Residual, Sequential
from xpnet.namespace import Namespace

FORMAT = "xpnet model 1"
_SECONDS = re.compile(r'"seconds": [^,}]*')

# What safetensors calls the dtypes that a model could mix.
_NAMES = {"F16": "float16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "U8": "uint8"}
_GROUPS: dict[str, Any] = {"Sequential": Sequential, "Residual": Residual}
_LAYERS: dict[str, Any] = {**LAYERS, **_GROUPS}


class _OwnLayerError(Exception):
    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.kind = kind


def sha256(arrays: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the arrays' bytes, one after another, little-endian and in C order."""
    digest = hashlib.sha256()
    for x in arrays:
        digest.update(x.astype(x.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _seal(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of a file's content: the descriptions, then the arrays.

    The seconds of the history are left out, because they differ between equal runs. `about_sha256` covers
    them; if it does not match, the result is empty. The first files have no `about_sha256`, and their seconds
    are included here.
    """
    about = metadata["about"]
    if "about_sha256" in metadata:
        if metadata["about_sha256"] != sha256([_as_array(about)]):
            return ""
        about = _SECONDS.sub("", about)
    return sha256([_as_array(metadata["model"]), _as_array(about), *tensors.values()])


def _as_array(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted; the library writes them in any order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(data)[end:]))


def save(
    path: str | bytes | os.PathLike[Any],
    xp: Namespace,
    model: Sequential,
    params: Params,
    about: dict[str, Any],
) -> None:
    """Write a model and its parameters to `path`, whole or not at all.

    For a layer of your own class, the file has only the name, so `load` must be given the model.

    Parameters
    ----------
    about : dict
        What else to store about the model, as JSON.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    # `ascontiguousarray` would add a dimension to an array without any.
    tensors = {name: np.asarray(xp.to_host(params[name]), order="C") for name in _shapes(model)}
    metadata = {"format": FORMAT, "model": json_text(_describe(model)), "about": json_text(about)}
    metadata["about_sha256"] = sha256([_as_array(metadata["about"])])
    metadata["sha256"] = _seal(metadata, tensors)
    write_whole(path, _in_order(safetensors.numpy.save(tensors, metadata)))


def load(
    path: str | bytes | os.PathLike[Any], xp: Namespace, model: Sequential | None = None
) -> tuple[Sequential, Params, dict[str, Any]]:
    """Return the model at `path`, its parameters as arrays of `xp`, and what was saved about it.

    Arrays are read only after the header is known to be that of such a model.

    Parameters
    ----------
    model : Sequential, optional
        The model that was saved. If omitted, it is built from its description.

    Raises
    ------
    OSError
        If the file cannot be read, or is a folder, a pipe or a device.
    ValueError
        If it is damaged or no model of xpnet, if it needs `model`, or if `model` is another one.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise damaged(path, f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
        found, about = _described(path, metadata, model)
        # Checked before an array is read, because another model may be larger than memory.
        _check_arrays(path, found, {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in _shapes(found)}
    if _seal(metadata, tensors) != metadata.get("sha256"):
        raise damaged(path, "its bytes have changed since it was written")
    return found, {name: xp.asarray(x) for name, x in tensors.items()}, about


def _shapes(model: Sequential) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of all arrays of a model: parameters and state."""
    return model.shapes | model.state_shapes


def damaged(path: str | bytes | os.PathLike[Any], found: str) -> ValueError:
    """Return the error for a file that is not a model."""
    template = "{path} is not an xpnet model ({found}); pass a file that `run.save` wrote"
    return ValueError(fitted(template, found=found, path=repr(os.fsdecode(path))))


@contextlib.contextmanager
def _opened(path: str | bytes | os.PathLike[Any]) -> Iterator[Any]:
    """Return a context with a safetensors file, whose errors name `path`."""
    named = repr(os.fsdecode(path))
    try:
        with safetensors.safe_open(to_read(path), framework="numpy") as file:
            yield file
    except FileNotFoundError as e:
        template = "no model at {path}; pass a file that `run.save` wrote"
        raise FileNotFoundError(fitted(template, path=named)) from e
    except OSError as e:
        template = "cannot read {path}: {reason}; pass a file that `run.save` wrote"
        raise type(e)(fitted(template, path=named, reason=e.strerror or e)) from e
    except safetensors.SafetensorError as e:
        raise damaged(path, f"not a whole safetensors file: {e}") from e


def _described(
    path: str | bytes | os.PathLike[Any], metadata: dict[str, str], model: Sequential | None
) -> tuple[Sequential, dict[str, Any]]:
    """Return the model that a file describes, which is `model` if given, and what was saved about it."""
    try:
        description, about = from_json(metadata["model"]), from_json(metadata["about"])
        found = _build(description, MOST_LEVELS) if model is None else model
    except _OwnLayerError as e:
        template = (
            "{path} has a layer {kind}, whose class is not from xpnet; "
            "pass the model that was saved, as in `xpnet.load(path, model=model)`"
        )
        raise ValueError(fitted(template, kind=repr(e.kind), path=repr(os.fsdecode(path)))) from e
    except (KeyError, TypeError, ValueError) as e:
        raise damaged(path, f"its description cannot be read: {e!r}") from e
    if not isinstance(found, Sequential):
        raise damaged(path, f"it holds a {type(found).__name__}, not a Sequential")
    if model is not None and from_json(json_text(_describe(model))) != description:
        template = "`model` is not the one of {path}, which is {description}"
        raise ValueError(fitted(template, description=json.dumps(description), path=repr(os.fsdecode(path))))
    return found, about


def _check_arrays(path: str | bytes | os.PathLike[Any], model: Sequential, found: dict[str, Any]) -> None:
    """Raise unless the header of a file has exactly the arrays of `model`."""
    shapes = {name: tuple(x.get_shape()) for name, x in found.items()}
    if shapes != _shapes(model):
        raise damaged(path, _difference(shapes, _shapes(model)))
    dtypes = {x.get_dtype() for x in found.values()}
    if dtypes not in ({"F32"}, {"F64"}):
        named = " and ".join(sorted(_NAMES.get(dtype, dtype) for dtype in dtypes))
        raise damaged(path, f"its arrays are {named}, not all float32 or all float64")


def _difference(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """Return the first difference between the shapes of a file and those of its architecture."""
    name = next(name for name in (*expected, *found) if found.get(name) != expected.get(name))
    return (
        f"its arrays are not those of its architecture: {shortened(name, 40)!r} is "
        f"{_shape(found.get(name))}, but should be {_shape(expected.get(name))}"
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shortened(shape, 40)}"


def _describe(layer: Any) -> dict[str, Any]:
    kind = type(layer).__name__
    if _LAYERS.get(kind) is not type(layer):
        return {"own": kind, "fields": _fields(layer)}
    if kind in _GROUPS:
        return {"layer": kind, "layers": [_describe(part) for part in layer.layers]}
    return {"layer": kind, **dataclasses.asdict(layer)}


def _fields(layer: Any) -> str | None:
    """Return the fields of a user's layer as text, to compare them; None if they may change."""
    made = getattr(layer, "__dataclass_params__", None)
    if made is None or not made.frozen:
        return None
    fields = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer) if field.repr}
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(fields))  # addresses, which differ between processes


def _build(description: dict[str, Any], levels: int) -> Any:
    """Return the layer that a description stands for, with models nested at most `levels` deep."""
    options = dict(description)
    if "own" in options:
        raise _OwnLayerError(options["own"])
    kind = options.pop("layer")
    if kind not in _LAYERS:
        raise ValueError(f"unknown layer {kind!r}")
    if kind in _GROUPS:
        if levels == 0:
            raise ValueError(f"models are nested more than {MOST_LEVELS} deep")
        return _GROUPS[kind](*(_build(part, levels - 1) for part in options["layers"]))
    return _LAYERS[kind](**options)
