"""How each layer of `xpnet` is written in ONNX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet import augmentation_layers, image_layers, layers, models, normalisation_layers
from xpnet.errors import shortened
from xpnet.layer import state_shapes
from xpnet.nn.activations import GELU_BEND, GELU_SLOPE
from xpnet.nn.windows import pool_windows, windows
from xpnet.onnx.graph import Graph, Value
from xpnet.widths import shape_after

Arrays = Mapping[str, np.ndarray]
Translation = Callable[[Graph, Any, Arrays, Value], Value]


def add_layer(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    """Return the output of a layer whose nodes are added to the graph, for a layer that has others.

    Parameters as of `translate`.
    """
    return graph.plain(translate(graph, layer, params, x))


def translate(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    """Return the output of a layer whose nodes are added to the graph, stored in any order.

    Parameters
    ----------
    graph : Graph
    layer : Layer
    params : dict of NumPy arrays
        The layer's parameters and its state.
    x : Value
        Its input.

    Raises
    ------
    ValueError
        If the layer has no translation.
    """
    known = TRANSLATIONS.get(type(layer))
    return _own(graph, layer, params, x) if known is None else known(graph, layer, params, x)


def _own(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    """Return what the method `to_onnx` of a layer of a user's class returns, with the layer's shape."""
    named = f"layer {graph.path}, {shortened(repr(layer), 80)},"
    if not _has_translation(type(layer)):
        raise ValueError(
            f"{named} cannot be written in ONNX; give its class a method `to_onnx(self, graph, params, x)`, "
            "see `xpnet.onnx`"
        )
    made, shape = layer.to_onnx(graph, params, graph.plain(x)), shape_after(layer, x.shape)
    if not isinstance(made, Value):
        raise TypeError(f"`to_onnx` of {named} returned {made!r}; return what `graph.node` returned")
    if shape is None or None in shape:
        raise ValueError(f"{named} does not say what shape it returns; give its class `output_shape`")
    return dataclasses.replace(graph.plain(made), shape=shape, stored=shape)  # type: ignore[arg-type]


def _has_translation(kind: type[Any]) -> bool:
    """Return whether a class has a `to_onnx` for its `__call__`, and not for one that it replaced."""
    classes = [vars(one) for one in kind.__mro__]
    places = [
        next((i for i, own in enumerate(classes) if name in own), -1) for name in ("to_onnx", "__call__")
    ]
    return 0 <= places[0] <= places[1]


def _sequential(graph: Graph, model: Any, params: Arrays, x: Value) -> Value:
    for i, layer in enumerate(model.layers):
        own = {name: params[f"{i}.{name}"] for name in (*layer.shapes, *state_shapes(layer))}
        with graph.inside(str(i)):
            x = translate(graph, layer, own, x)
    return x


def _residual(graph: Graph, model: Any, params: Arrays, x: Value) -> Value:
    y = translate(graph, model.inner, params, x)
    if (x.order, x.stored) != (y.order, y.stored):
        alike = graph.channels_first if len(x.shape) == 3 else graph.plain
        x, y = alike(x), alike(y)
    return graph.node("Add", x, y)


def _linear(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    weight = params["weight"]
    if x.order is not None:  # The rows of the weight are put in order, which costs nothing later.
        by_pixel = weight.reshape(*x.order, layer.n_out)
        weight = by_pixel.transpose(2, 0, 1, 3).reshape(weight.shape)
    rows = graph.reshaped(x, (layer.n_in,))
    named = graph.parameter(weight, "weight"), graph.parameter(params["bias"], "bias")
    return graph.node("Gemm", rows, *named, shape=(layer.n_out,))


def _elementwise(op: str) -> Translation:
    return lambda graph, layer, params, x: graph.node(op, x)


def _silu(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    if graph.dtype == "float32":
        return graph.node("Mul", x, graph.node("Sigmoid", x))
    # onnxruntime 1.22 fuses the form above into an operator that it has in float32 only.
    return graph.node("Div", x, graph.node("Add", graph.node("Exp", graph.node("Neg", x)), 1.0))


def _gelu(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    # As `nn.gelu` has it; the operator Gelu came with operator set 20, and has another form of it.
    # Beyond 9, the sigmoid is 0 or 1 to within 1e-28; far beyond, evaluators warn that exp() overflows.
    bounded = graph.node("Clip", x, -9.0, 9.0)
    square = graph.node("Mul", bounded, bounded)
    slope = graph.node("Add", graph.node("Mul", square, GELU_BEND), GELU_SLOPE)
    return graph.node("Mul", x, graph.node("Sigmoid", graph.node("Mul", bounded, slope)))


def _leaky_relu(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    if graph.dtype == "float32":
        return graph.node("LeakyRelu", x, alpha=layer.slope)
    # Attributes are float32, which would round the slope.
    return graph.node("Max", x, graph.node("Mul", x, layer.slope))


def _softmax(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    return graph.node("Softmax", graph.plain(x), axis=-1)


def _same(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    return x


def _layer_norm(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    # Not LayerNormalization: onnxruntime 1.22 loses all digits where a mean is far from 0, and its `epsilon`
    # is float32.
    x = graph.plain(x)
    centred = graph.node("Sub", x, graph.mean(x, [-1], keepdims=True))
    variance = graph.mean(graph.node("Mul", centred, centred), [-1], keepdims=True)
    deviation = graph.node("Sqrt", graph.node("Add", variance, layer.eps))
    scale, shift = (graph.parameter(params[name], name) for name in ("scale", "shift"))
    return graph.node("Add", graph.node("Mul", graph.node("Div", centred, deviation), scale), shift)


def _batch_norm(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    # `epsilon` is float32; what its rounding takes away is added to the variance.
    lost = layer.eps - float(np.float32(layer.eps))
    arrays = {**params, "variance": params["variance"] + params["variance"].dtype.type(lost)}
    named = [graph.parameter(arrays[name], name) for name in ("scale", "shift", "mean", "variance")]
    if len(x.shape) == 3:
        return graph.images("BatchNormalization", x, *named, shape=x.shape, epsilon=layer.eps)
    return graph.node("BatchNormalization", graph.plain(x), *named, epsilon=layer.eps)


def _standardize(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    x, shape = (graph.channels_first(x), (-1, 1, 1)) if len(x.shape) == 3 else (graph.plain(x), (-1,))
    mean, deviation = (graph.parameter(params[name].reshape(shape), name) for name in ("mean", "deviation"))
    return graph.node("Div", graph.node("Sub", x, mean), deviation)


def _conv2d(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    over = windows((x.shape[0], x.shape[1]), layer.kernel_size, **options)
    weight = graph.parameter(params["weight"].transpose(3, 2, 0, 1), "weight")
    return graph.images(
        "Conv",
        x,
        weight,
        graph.parameter(params["bias"], "bias"),
        shape=layer.output_shape(x.shape),
        kernel_shape=[window.size for window in over],
        strides=[window.stride for window in over],
        dilations=[window.dilation for window in over],
        pads=[window.before for window in over] + [window.after for window in over],
        group=layer.groups,
    )


def _max_pool2d(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    return _pooled(graph, "MaxPool", layer, x)


def _avg_pool2d(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    return _pooled(graph, "AveragePool", layer, x, count_include_pad=0)


def _pooled(graph: Graph, op: str, layer: Any, x: Value, **options: Any) -> Value:
    rows, columns = pool_windows(
        (x.shape[0], x.shape[1]), layer.size, stride=layer.stride, padding=layer.padding
    )
    shape, pads = layer.output_shape(x.shape), [rows.before, columns.before, rows.after, columns.after]
    strides = [rows.stride, columns.stride]
    if op == "MaxPool" and strides == [1, 1] and columns.before != rows.after:
        # The reference evaluator of onnx swaps these two if the stride is 1.
        padded = x.shape[0] + rows.before + rows.after, x.shape[1] + columns.before + columns.after
        around = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
        x = graph.images("Pad", x, around, -np.inf, shape=(*padded, x.shape[2]))
        pads = [0, 0, 0, 0]
    sizes = [rows.size, columns.size]
    return graph.images(op, x, shape=shape, kernel_shape=sizes, strides=strides, pads=pads, **options)


def _global_avg_pool2d(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    # Not GlobalAveragePool, which onnxruntime has for float32 only.
    if x.order is None:
        made = graph.mean(graph.plain(x), [1, 2], keepdims=False)
    else:
        made = graph.mean(graph.channels_first(x), [2, 3], keepdims=False)
    return Value(made.name, x.shape[2:], x.shape[2:])


def _reshape(graph: Graph, layer: Any, params: Arrays, x: Value) -> Value:
    # The tensor stays as it is; it is stored differently when another layer needs that.
    shape = layer.output_shape(x.shape)
    if len(shape) == 3 and x.order not in (None, shape):
        x = graph.plain(x)
    return dataclasses.replace(x, shape=shape)


TRANSLATIONS: dict[type[Any], Translation] = {
    models.Sequential: _sequential,
    models.Residual: _residual,
    layers.Linear: _linear,
    layers.Sigmoid: _elementwise("Sigmoid"),
    layers.ReLU: _elementwise("Relu"),
    layers.Tanh: _elementwise("Tanh"),
    layers.GELU: _gelu,
    layers.SiLU: _silu,
    layers.LeakyReLU: _leaky_relu,
    layers.Softmax: _softmax,
    layers.Dropout: _same,
    augmentation_layers.RandomShift: _same,
    augmentation_layers.RandomFlip: _same,
    normalisation_layers.LayerNorm: _layer_norm,
    normalisation_layers.BatchNorm: _batch_norm,
    normalisation_layers.Standardize: _standardize,
    image_layers.Conv2d: _conv2d,
    image_layers.MaxPool2d: _max_pool2d,
    image_layers.AvgPool2d: _avg_pool2d,
    image_layers.GlobalAvgPool2d: _global_avg_pool2d,
    image_layers.Flatten: _reshape,
    image_layers.Unflatten: _reshape,
}
"""By the class itself: a subclass may compute something else."""
