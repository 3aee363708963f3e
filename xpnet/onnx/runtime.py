"""What the installed onnxruntime says about a model, if it is installed."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

from xpnet.onnx.library import OPSET


def refusal(model: Any) -> str:
    """Return why onnxruntime does not load a model; empty if it does, or if it is not installed."""
    runtime = _runtime()
    if runtime is None:
        return ""
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # The reason is returned, not logged.
    try:
        runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # It has classes of its own, which it names differently in different versions.
        return f"onnxruntime {runtime.__version__} does not load it: {' '.join(str(e).split())}"
    return ""


def check_opset(model: Any, usual: Callable[[], Any]) -> None:
    """Raise ValueError if onnxruntime is too old for the operator set of a model.

    `usual` returns the same model with the usual operator set; if that is refused too, the set is not why.
    """
    opset = model.opset_import[0].version
    if opset > OPSET and refusal(model) and not refusal(usual()):
        raise ValueError(
            f"`opset` is {opset}, for which onnxruntime {_runtime().__version__} is too old; "
            f"choose {OPSET}, or upgrade onnxruntime"
        )


def _runtime() -> Any:
    with contextlib.suppress(ImportError):
        return importlib.import_module("onnxruntime")
    return None
