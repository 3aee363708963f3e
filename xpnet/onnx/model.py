"""A run as an ONNX model: its inputs, its layers, its outputs, and what its metadata say."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import checks
from xpnet.errors import shortened
from xpnet.files import write_whole
from xpnet.loss import LABELS, VALUES
from xpnet.losses import find_loss
from xpnet.models import check_params
from xpnet.onnx.entry import about_inputs, entered, stored_shape
from xpnet.onnx.graph import Graph, Value
from xpnet.onnx.library import OPSET, checked_opset, code, described_tensor, library
from xpnet.onnx.runtime import check_opset
from xpnet.onnx.translations import translate

if TYPE_CHECKING:
    from xpnet.run import Run

_MOST_BYTES = 2**31 - 2**20  # A file is one protocol buffer, which has less than 2 GiB.
_DTYPES = "float32", "float64"


def export(run: Run, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a run to an ONNX file, whole or not at all; see `to_model` for the options."""
    write_whole(path, to_bytes(to_model(run, **options)))


def to_bytes(model: Any) -> bytes:
    """Return an ONNX model as the bytes of its file; those of equal models are equal."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def to_model(
    run: Run,
    *,
    opset: int = OPSET,
    dtype: str | None = None,
    input_dtype: str | None = None,
    shape: tuple[int, ...] | None = None,
) -> Any:
    """Return a run as an `onnx.ModelProto`, checked by the package onnx.

    Parameters
    ----------
    run : Run
    opset : int
        The operator set, from 17 to the newest that the installed onnx and onnxruntime know.
    dtype : {"float32", "float64"}, optional
        Of parameters and arithmetic. If omitted, as trained.
    input_dtype : {"uint8", "float32", "float64"}, optional
        Of the inputs. uint8 pixels are scaled, as in training; floats are not. If omitted, as the training
        data were stored.
    shape : tuple of int, optional
        Of one image, (height, width) or (height, width, channels). If omitted, as the training data had it.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    ValueError
        If a layer of your own has no translation, if an option does not fit the run, if `opset` is one that
        onnx or onnxruntime does not know, or if the parameters do not fit into a file of 2 GiB.
    """
    opset = checked_opset(opset)
    trained = check_params(run.xp, run.model, run.params)
    dtype = trained if dtype is None else checks.choice(_DTYPES)("dtype", dtype)
    known = trained if run.inputs is None else run.inputs.dtype
    known = known if input_dtype is None else checks.choice(("uint8", *_DTYPES))("input_dtype", input_dtype)
    stored, params = stored_shape(run, shape), _params(run, dtype)

    graph = Graph(opset, dtype)
    x = entered(graph, run, known, stored)
    z = translate(graph, find_loss(run.loss).trunk(run.model), params, x)
    outputs = _outputs(graph, run, graph.plain(z))
    entry = described_tensor("inputs", known, stored, about_inputs(run, known))
    model = _model(graph, run, entry, outputs)
    _check(model)
    check_opset(model, lambda: to_model(run, dtype=dtype, input_dtype=known, shape=stored))
    return model


def _params(run: Run, dtype: str) -> dict[str, np.ndarray]:
    """Return the parameters of a run on the host in this dtype, or raise if a file cannot hold them."""
    with np.errstate(over="ignore"):
        params = {name: np.asarray(run.xp.to_host(p)).astype(dtype) for name, p in run.params.items()}
    size = sum(p.nbytes for p in params.values())
    if size > _MOST_BYTES:
        raise ValueError(
            f"the parameters have {size:,} bytes, but an ONNX file holds less than 2 GiB; "
            "export a smaller model, or save it with `run.save`"
        )
    beyond = next((name for name, p in params.items() if not np.isfinite(p).all()), None)
    if beyond is not None:
        raise ValueError(f"the parameter {beyond!r} is not finite in {dtype}; choose another dtype")
    return params


def _check(model: Any) -> None:
    """Raise unless the package onnx takes a model; one with only layers of `xpnet` it does."""
    onnx = library()
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        reason = shortened(" ".join(str(e).split()), 160)
        raise ValueError(
            f"onnx refuses the model: {reason}; correct `to_onnx` of the layers of your own"
        ) from e


def _outputs(graph: Graph, run: Run, z: Value) -> list[Any]:
    """Return the descriptions of the outputs, given what enters the loss, and add their nodes."""
    loss, model = find_loss(run.loss), run.model
    has_probabilities = run.task != VALUES and loss.gives_probabilities(model)
    is_absorbed = loss.trunk(model) is not model
    p = z
    if loss.absorbs is not None and (has_probabilities or is_absorbed):
        p = translate(graph, loss.absorbs(), {}, z)
    made = {"outputs": (p if is_absorbed else z, graph.dtype, "What the last layer gives.")}
    if has_probabilities:
        if z.shape == (1,):
            p = graph.node("Concat", graph.node("Sub", 1.0, p), p, shape=(2,), axis=1)
        made = {"probabilities": (p, graph.dtype, "The probability of each class."), **made}
    if run.task != VALUES:
        made = {"label": _label(graph, run, z), **made}
    for name, (value, _, _) in made.items():
        graph.output(value, name)
    return [described_tensor(name, dtype, value.shape, text) for name, (value, dtype, text) in made.items()]


def _label(graph: Graph, run: Run, z: Value) -> tuple[Value, str, str]:
    """Return what `run.predict` returns, its dtype, and a description."""
    if run.task == LABELS or z.shape == (1,):
        above = graph.node("Greater", z, find_loss(run.loss).threshold)
        found = graph.node("Cast", above, to=code("int64"))
    else:
        found = graph.node("ArgMax", z, shape=(), axis=1, keepdims=0)
    if run.task == LABELS:
        return found, "int64", "1 for each label that applies, else 0."
    found = graph.reshaped(dataclasses.replace(found, shape=()), ())
    if not (run.predicts_names and run.classes):
        return found, "int64", "The index of the predicted class."
    names = Value(graph.constant(np.array(run.classes), "classes"), (), ())
    return graph.node("Gather", names, found, axis=0), "str", "The name of the predicted class."


def _model(graph: Graph, run: Run, entry: Any, outputs: list[Any]) -> Any:
    from xpnet import __version__

    helper = library().helper
    text = ", ".join(type(layer).__name__ for layer in run.model.layers)
    made = helper.make_graph(graph.nodes, "xpnet", [entry], outputs, graph.constants, doc_string=text)
    sets = [helper.make_opsetid("", graph.opset)]
    model = helper.make_model(
        made,
        opset_imports=sets,
        ir_version=helper.find_min_ir_version_for(sets),  # so that older runtimes read it
        producer_name="xpnet",
        producer_version=__version__,
        doc_string=f"A network that was trained with xpnet, loss {find_loss(run.loss).name}.",
    )
    helper.set_model_props(model, _metadata(run))
    return model


def _metadata(run: Run) -> dict[str, str]:
    """Return the model's metadata, each entry as JSON or a word."""
    found = {"task": run.task}
    if run.classes is not None:
        found["classes"] = json.dumps(run.classes, ensure_ascii=False)
    if run.encoding is not None:
        found["features"] = json.dumps(run.encoding.features, ensure_ascii=False)
        found["encoding"] = json.dumps(run.encoding.about(), ensure_ascii=False)
    return found


def described(model: Any) -> str:
    """Return the inputs, the outputs and the operator set of an ONNX model, on one line."""
    entries, outputs = (", ".join(map(_described, ts)) for ts in (model.graph.input, model.graph.output))
    return f"{entries} -> {outputs}; operator set {model.opset_import[0].version}"


def _described(tensor: Any) -> str:
    found = tensor.type.tensor_type
    lengths = [axis.dim_param or str(axis.dim_value) for axis in found.shape.dim]
    types = library().TensorProto
    dtype = (
        "str"
        if found.elem_type == types.STRING
        else library().helper.tensor_dtype_to_np_dtype(found.elem_type)
    )
    return f"{tensor.name} ({', '.join(lengths)}) {dtype}"
