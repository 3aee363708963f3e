"""Models as files: safetensors, with the architecture as JSON in the metadata, and nothing that runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from xpnet.files import json_text, write_whole
from xpnet.layers import Dropout, Linear, Params, ReLU, Sigmoid, Softmax, Tanh
from xpnet.models import Sequential
from xpnet.namespace import Namespace

FORMAT = "xpnet model 1"

_LAYERS: dict[str, Any] = {
    layer.__name__: layer for layer in (Linear, Sigmoid, ReLU, Tanh, Softmax, Dropout, Sequential)
}


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
    """Return the SHA-256 of all that a file says: the descriptions and then the arrays."""
    texts = [np.frombuffer(metadata[key].encode(), dtype=np.uint8) for key in ("model", "about")]
    return sha256([*texts, *tensors.values()])


def save(
    path: str | os.PathLike[str],
    xp: Namespace,
    model: Sequential,
    params: Params,
    about: dict[str, Any],
) -> None:
    """Write a model and its parameters to `path`, whole or not at all.

    A layer of a class of your own is named, not described, so `load` must be given the model.

    Parameters
    ----------
    about : dict
        Whatever else is to be known of the model; JSON holds it.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    # Not `ascontiguousarray`, which gives an array without dimensions one.
    tensors = {name: np.asarray(xp.to_host(params[name]), order="C") for name in model.shapes}
    metadata = {"format": FORMAT, "model": json_text(_describe(model)), "about": json_text(about)}
    metadata["sha256"] = _seal(metadata, tensors)
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def load(
    path: str | os.PathLike[str], xp: Namespace, model: Sequential | None = None
) -> tuple[Sequential, Params, dict[str, Any]]:
    """Return the model at `path`, its parameters as arrays of `xp`, and what was saved about it.

    Parameters
    ----------
    model : Sequential, optional
        The model that was saved. If omitted, it is built from its description.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged or foreign, if it needs `model`, or if that is another model.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as e:
        raise FileNotFoundError(f"no model at {str(path)!r}; pass a file that `run.save` wrote") from e
    except OSError as e:
        raise type(e)(f"cannot read {str(path)!r}: {e}; pass a file that `run.save` wrote") from e
    except safetensors.SafetensorError as e:
        raise damaged(path, f"not a whole safetensors file: {e}") from e
    if metadata.get("format") != FORMAT:
        raise damaged(path, f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
    try:
        description, about = json.loads(metadata["model"]), json.loads(metadata["about"])
        found = _build(description) if model is None else model
    except _OwnLayerError as e:
        raise ValueError(
            f"{str(path)!r} has a layer {e.kind!r}, whose class is not of xpnet; "
            "pass the model that was saved, as in `xpnet.load(path, model=model)`"
        ) from e
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise damaged(path, f"its description cannot be read: {e!r}") from e
    if model is not None and _describe(model) != description:
        raise ValueError(f"`model` is not the one of {str(path)!r}, which is {json.dumps(description)}")
    _check_tensors(path, found, tensors, metadata)
    return found, {name: xp.asarray(tensors[name]) for name in found.shapes}, about


def damaged(path: str | os.PathLike[str], found: str) -> ValueError:
    """Return the error for a file that is no model."""
    return ValueError(f"{str(path)!r} is no xpnet model ({found}); pass a file that `run.save` wrote")


def _check_tensors(
    path: str | os.PathLike[str],
    model: Any,
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str],
) -> None:
    if not isinstance(model, Sequential):
        raise damaged(path, f"it holds a {type(model).__name__}, not a Sequential")
    shapes = {name: x.shape for name, x in tensors.items()}
    if shapes != model.shapes:
        raise damaged(path, f"its arrays are {shapes}, but its architecture has {model.shapes}")
    dtypes = {x.dtype.name for x in tensors.values()}
    if dtypes not in ({"float32"}, {"float64"}):
        raise damaged(path, f"its arrays are {' and '.join(sorted(dtypes))}, not all float32 or all float64")
    if _seal(metadata, {name: tensors[name] for name in model.shapes}) != metadata.get("sha256"):
        raise damaged(path, "its bytes have changed since it was written")


def _describe(layer: Any) -> dict[str, Any]:
    kind = type(layer).__name__
    if _LAYERS.get(kind) is not type(layer):
        return {"own": kind, "fields": _fields(layer)}
    if isinstance(layer, Sequential):
        return {"layer": kind, "layers": [_describe(part) for part in layer.layers]}
    return {"layer": kind, **dataclasses.asdict(layer)}


def _fields(layer: Any) -> str | None:
    """Return the fields of a layer of the user's own as text, if they stay as they are, to compare them."""
    made = getattr(layer, "__dataclass_params__", None)
    if made is None or not made.frozen:
        return None
    fields = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer) if field.repr}
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(fields))  # addresses, which change with the process


def _build(description: dict[str, Any]) -> Any:
    options = dict(description)
    if "own" in options:
        raise _OwnLayerError(options["own"])
    kind = options.pop("layer")
    if kind not in _LAYERS:
        raise ValueError(f"unknown layer {kind!r}")
    if kind == "Sequential":
        return Sequential(*map(_build, options["layers"]))
    return _LAYERS[kind](**options)
