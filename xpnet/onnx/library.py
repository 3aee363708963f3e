"""The package `onnx`, which is optional, and the operator sets that it knows."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from xpnet.checks import count

BATCH = "batch"
"""The name of the first axis of inputs and outputs."""

OPSET = 17
"""The operator set of exported models, unless another one is asked for; onnxruntime has it since 1.12."""


def library() -> Any:
    """Return the package `onnx`.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return importlib.import_module("onnx")
    except ImportError as e:
        raise ImportError(
            f"an ONNX model needs the package onnx: {e}; install it with `pip install 'xpnet[onnx]'`"
        ) from e


def checked_opset(value: Any) -> int:
    """Return `value` as an operator set that can be exported, or raise a ValueError."""
    opset, onnx = count("opset", value), library()
    newest = onnx.defs.onnx_opset_version()
    if opset < OPSET:
        raise ValueError(f"`opset` must be at least {OPSET}, got {opset}; choose {OPSET} or a newer one")
    if opset > newest:
        raise ValueError(
            f"`opset` is {opset}, but onnx {onnx.__version__} knows operator sets up to {newest}; "
            "pass a smaller one, or upgrade onnx"
        )
    return opset


def described_tensor(name: str, dtype: str, shape: tuple[int, ...], text: str) -> Any:
    """Return the description of an input or an output, given the shape of one row and a sentence about it."""
    return library().helper.make_tensor_value_info(name, code(dtype), [BATCH, *shape], doc_string=text)


def code(dtype: str) -> int:
    """Return ONNX's number for a dtype."""
    types = library().TensorProto
    return int(types.STRING if dtype == "str" else library().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
