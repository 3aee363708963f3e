"""Models as files: safetensors, with the architecture as JSON in the metadata, and nothing that runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from xpnet.files import write_whole
from xpnet.layers import Dropout, Linear, Params, ReLU, Sigmoid, Softmax, Tanh
from xpnet.models import Sequential
from xpnet.namespace import Namespace

FORMAT = "xpnet model 1"

_LAYERS: dict[str, Any] = {
    layer.__name__: layer for layer in (Linear, Sigmoid, ReLU, Tanh, Softmax, Dropout, Sequential)
}


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

    Parameters
    ----------
    about : dict
        Whatever else is to be known of the model; JSON holds it.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If the model has a layer that this module does not know.
    """
    tensors = {name: np.ascontiguousarray(xp.to_host(params[name])) for name in model.shapes}
    metadata = {"format": FORMAT, "model": json.dumps(_describe(model)), "about": json.dumps(about)}
    metadata["sha256"] = _seal(metadata, tensors)
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def load(path: str | os.PathLike[str], xp: Namespace) -> tuple[Sequential, Params, dict[str, Any]]:
    """Return the model at `path`, its parameters as arrays of `xp`, and what was saved about it.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged or foreign.
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
        model, about = _build(json.loads(metadata["model"])), json.loads(metadata["about"])
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise damaged(path, f"its description cannot be read: {e!r}") from e
    _check_tensors(path, model, tensors, metadata)
    return model, {name: xp.asarray(tensors[name]) for name in model.shapes}, about


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
        raise ValueError(f"cannot save a layer {kind!r}: only {', '.join(_LAYERS)} can be saved")
    if isinstance(layer, Sequential):
        return {"layer": kind, "layers": [_describe(part) for part in layer.layers]}
    return {"layer": kind, **dataclasses.asdict(layer)}


def _build(description: dict[str, Any]) -> Any:
    options = dict(description)
    kind = options.pop("layer")
    if kind not in _LAYERS:
        raise ValueError(f"unknown layer {kind!r}")
    if kind == "Sequential":
        return Sequential(*map(_build, options["layers"]))
    return _LAYERS[kind](**options)
