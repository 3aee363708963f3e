"""How inputs enter an ONNX model: their shape, their dtype, and the scaling of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpnet import checks
from xpnet.errors import shortened
from xpnet.onnx.graph import Graph, Sizes, Value
from xpnet.onnx.library import code
from xpnet.problem import out_count
from xpnet.widths import entering

if TYPE_CHECKING:
    from xpnet.run import Run


def stored_shape(run: Run, shape: Any) -> Sizes:
    """Return the shape of one row of the inputs as a user has them, or raise unless the model takes it."""
    known = run.inputs
    found: Sizes | None = None if known is None else known.stored_shape
    if shape is not None:
        found = checks.shape(shape)
    elif found is None and run.model.n_in is not None:
        found = (run.model.n_in,)
    if found is None:
        raise ValueError(
            "the run does not say what shape its images have; pass `shape=(height, width, channels)`"
        )
    _check_shape(run, found)
    return found


def _check_shape(run: Run, shape: Sizes) -> None:
    model, reason = run.model, ""
    into = entering(model, shape)
    if len(shape) not in (1, 2, 3) or 0 in shape:
        reason = "pass (height, width, channels)"
    elif model.n_in is not None and into != (model.n_in,):
        reason = f"it takes {model.n_in} features"
    else:
        try:
            if not out_count(model, into):
                reason = "its outputs are no rows of features then"
        except ValueError as e:
            reason = str(e)
    if reason:
        raise ValueError(f"the model does not take inputs of shape {shape}: {reason}")


def entered(graph: Graph, run: Run, dtype: str, stored: Sizes) -> Value:
    """Return the inputs as they enter the model: of its dtype and, if they are pixels, scaled."""
    into: Any = entering(run.model, stored)
    x = Value("inputs", into, stored)
    if dtype != graph.dtype:
        x = graph.node("Cast", x, to=code(graph.dtype))
    if dtype == "uint8":
        run.scaling.check(graph.dtype)
        if run.scaling.scale != 1.0:
            x = graph.node("Mul", x, run.scaling.scale)
        if run.scaling.offset != 0.0:
            x = graph.node("Add", x, run.scaling.offset)
    return x


def about_inputs(run: Run, dtype: str) -> str:
    """Return a sentence about the inputs, for a reader of the file."""
    if dtype == "uint8":
        return "Pixels from 0 to 255; the model scales them."
    if run.encoding is not None:
        return f"Columns, in order: {shortened(', '.join(run.encoding.features), 1000)}."
    if run.inputs is not None:
        return f"Values as in training: from {run.inputs.low:g} to {run.inputs.high:g}; they are not scaled."
    return "Values as in training; they are not scaled."
