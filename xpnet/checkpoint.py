"""Models as files: safetensors with the architecture as JSON in the metadata, and no code.

The checkpoints of a training are such files too, with more in them: what the training needs to continue.
`xpnet.resuming` says what that is, and `xpnet.checkpoint_folder` keeps the files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from xpnet.descriptions import UnknownPartError, build, describe, fits
from xpnet.errors import fitted, shortened
from xpnet.files import from_json, json_text, write_whole
from xpnet.layer import Params
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.packing import Tensors, unpack
from xpnet.sealed import CHECKPOINT, MODEL, as_array, check_format, damaged, in_order, opened, sha256

Array = Any

FORMAT = MODEL.format
TRAINING = "training"
"""Begins the names of all arrays of a checkpoint that only its training needs."""
_SECONDS = re.compile(r'"seconds": [^,}]*')

# What safetensors calls the dtypes that a model could mix.
_NAMES = {"F16": "float16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "U8": "uint8"}


def _seal(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of a file's content: the descriptions, then the arrays.

    The seconds of the history are left out, because they differ between equal runs. `about_sha256` covers
    them; if it does not match, the result is empty. The first files have no `about_sha256`, and their seconds
    are included here.
    """
    about = metadata["about"]
    if "about_sha256" in metadata:
        if metadata["about_sha256"] != sha256([as_array(about)]):
            return ""
        about = _SECONDS.sub("", about)
    return sha256([as_array(metadata["model"]), as_array(about), *tensors.values()])


def _training_seal(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of what a checkpoint has besides the model, and of the model's."""
    texts = metadata["sha256"], metadata["about_sha256"], metadata[TRAINING]
    return sha256([*map(as_array, texts), *(tensors[name] for name in sorted(tensors))])


def save(
    path: str | bytes | os.PathLike[Any],
    xp: Namespace,
    model: Sequential,
    params: Params,
    about: dict[str, Any],
    *,
    training: tuple[Any, Tensors] | None = None,
    sync: bool = False,
) -> None:
    """Write a model and its parameters to `path`, whole or not at all.

    For a layer of your own class that is not registered, the file has only the name, so `load` must be given
    the model.

    Parameters
    ----------
    about : dict
        What else to store about the model, as JSON.
    training : tuple of JSON and dict, optional
        What a training needs to continue, packed under the name `TRAINING`; it makes the file a checkpoint.
    sync : bool
        See `write_whole`.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If a field of a registered class cannot be written as JSON.
    """
    # `ascontiguousarray` would add a dimension to an array without any.
    tensors = {name: np.asarray(xp.to_host(params[name]), order="C") for name in _shapes(model)}
    metadata = {"format": FORMAT, "model": json_text(describe(model)), "about": json_text(about)}
    metadata["about_sha256"] = sha256([as_array(metadata["about"])])
    metadata["sha256"] = _seal(metadata, tensors)
    if training is not None:
        packed, more = training
        metadata |= {"format": CHECKPOINT.format, TRAINING: json_text(packed)}
        metadata["training_sha256"] = _training_seal(metadata, more)
        tensors |= more
    write_whole(path, in_order(safetensors.numpy.save(tensors, metadata)), sync=sync)


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
    with opened(path) as file:
        metadata = file.metadata() or {}
        check_format(path, metadata, MODEL, CHECKPOINT)
        found, about = _described(path, metadata, model)
        # Checked before an array is read, because another model may be larger than memory.
        names = [name for name in file.keys() if not _is_training(metadata, name)]  # noqa: SIM118
        _check_arrays(path, found, {name: file.get_slice(name) for name in names})
        tensors = {name: file.get_tensor(name) for name in _shapes(found)}
    if _seal(metadata, tensors) != metadata.get("sha256"):
        raise damaged(path, "its bytes have changed since it was written")
    return found, {name: xp.asarray(x) for name, x in tensors.items()}, about


def load_training(
    path: str | bytes | os.PathLike[Any], make_array: Callable[[np.ndarray], Array] = np.asarray
) -> Any:
    """Return the `training` of a checkpoint, unpacked; `load` returns the model.

    Parameters
    ----------
    make_array : callable
        Makes arrays of the backend.

    Raises
    ------
    OSError
        If the file cannot be read.
    DamagedError
        If it is not a whole file of xpnet.
    ValueError
        If it is a model, or a checkpoint of another version.
    """
    with opened(path, CHECKPOINT) as file:
        metadata = file.metadata() or {}
        check_format(path, metadata, CHECKPOINT)
        names = [name for name in file.keys() if _is_training(metadata, name)]  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in names}
    try:
        if _training_seal(metadata, tensors) == metadata["training_sha256"]:
            return unpack(from_json(metadata[TRAINING]), tensors, make_array)
    except (KeyError, TypeError, ValueError) as e:
        raise damaged(path, f"what it says of the training cannot be read: {e!r}", CHECKPOINT) from e
    raise damaged(path, "its bytes have changed since it was written", CHECKPOINT)


def _is_training(metadata: dict[str, str], name: str) -> bool:
    """Return whether an array of a file is only for the training. Names of parameters have no slash."""
    return metadata["format"] == CHECKPOINT.format and name.startswith(f"{TRAINING}/")


def _shapes(model: Sequential) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of all arrays of a model: parameters and state."""
    return model.shapes | model.state_shapes


def _described(
    path: str | bytes | os.PathLike[Any], metadata: dict[str, str], model: Sequential | None
) -> tuple[Sequential, dict[str, Any]]:
    """Return the model that a file describes, which is `model` if given, and what was saved about it."""
    try:
        description, about = from_json(metadata["model"]), from_json(metadata["about"])
        found = build(description) if model is None else model
    except UnknownPartError as e:
        what = f"{e.remedy}, or pass the model" if e.remedy else "pass the model that was saved"
        template = "{path} has a layer {name}, {cause}; {what}, as in `xpnet.load(path, model=model)`"
        quotes = {"name": repr(e.name), "path": repr(os.fsdecode(path)), "what": what, "cause": e.cause}
        raise ValueError(fitted(template, **quotes)) from e
    except Exception as e:  # The class of a registered layer may raise anything.
        raise damaged(path, f"its description cannot be read: {e!r}") from e
    if not isinstance(found, Sequential):
        raise damaged(path, f"it holds a {type(found).__name__}, not a Sequential")
    if model is not None and not fits(model, description):
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
