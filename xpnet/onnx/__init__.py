"""Trained models as ONNX files, which onnxruntime and many other programs run.

``run.export("model.onnx")`` writes one. It takes what the training data were, uint8 pixels or floats, any
number of rows at a time, and images with their channels last. Its outputs are

- `label`, what `run.predict` returns: the class as its index or, if training had names, its name, shape
  (batch,); or 0 and 1 for each of several labels, shape (batch, labels). Not of values.
- `probabilities`, what `run.predict_proba` returns, shape (batch, classes). Only if there are probabilities.
- `outputs`, what `run.predict_outputs` returns, shape (batch, n_out).

Its metadata have `task`, and `classes`, `features` and `encoding` as JSON: the names of the classes, those of
the columns of the inputs, and how these were made of a table.

A layer of your own needs a method that adds its nodes to the graph and returns the last of them::

    def to_onnx(self, graph, params, x):
        return graph.node("Mul", x, params["scale"])

`params` is a dict of NumPy arrays, the parameters and the state of the layer; `x` is a `Value`. Inputs of
`Graph.node` are values, arrays and numbers. A layer that has layers of its own calls
``xpnet.onnx.add_layer(graph, layer, params, x)`` for each of them. The shape of the output follows from the
layer's `n_out` or `output_shape`, as everywhere.
"""

from xpnet.onnx.graph import Graph, Value
from xpnet.onnx.library import OPSET
from xpnet.onnx.model import export, to_model
from xpnet.onnx.translations import add_layer

__all__ = ["OPSET", "Graph", "Value", "add_layer", "export", "to_model"]
