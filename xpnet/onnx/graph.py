"""The graph of an ONNX model while it is made: nodes, constants, and how images are stored in between."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xpnet.onnx.library import library

Sizes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of the graph, whose first axis is the batch.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of one row, as a layer has it: (features,), or (height, width, channels).
    stored : tuple of int
        Of one row, as the tensor has it; a layer of your own gets `shape` here.
    order : (height, width, channels) or None
        If the elements of a row are in the order of such an image with its channels first. None if they are
        in the order of `shape`, as they always are for a layer of your own.
    """

    name: str
    shape: Sizes
    stored: Sizes
    order: Sizes | None = None


class Graph:
    """The nodes and constants of a model that is being made.

    Parameters
    ----------
    opset : int
        The operator set.
    dtype : {"float32", "float64"}
        Of parameters and arithmetic.

    Attributes
    ----------
    nodes, constants : list
        In ONNX's form, in order.
    """

    def __init__(self, opset: int, dtype: str) -> None:
        self.opset, self.dtype = opset, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._path = ""
        self._names: Counter[str] = Counter()
        self._outputs: dict[str, str] = {}
        self._other_forms: dict[tuple[str, str, Sizes], Value] = {}

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Return a context in which names begin with this one, such as the number of a layer."""
        before, self._path = self._path, f"{self._path}{name}."
        yield
        self._path = before

    @property
    def path(self) -> str:
        """The numbers of the layer that is being added, ``"2"`` or ``"2.0"`` in a model within the model."""
        return self._path.removesuffix(".")

    def node(
        self, op: str, *inputs: Any, shape: Sizes | None = None, name: str = "", **options: Any
    ) -> Value:
        """Return the first output of a new node.

        Parameters
        ----------
        op : str
            The operator's name in ONNX.
        *inputs : Value, NumPy array or number
            Arrays and numbers become constants. Floating-point ones get the dtype of the graph.
        shape : tuple of int, optional
            Of a row of the output. If omitted, that of the first input which is a `Value`; the elements must
            then be in the same order, as those of an elementwise operator are.
        name : str, optional
            Of the output, if it must have this one.
        **options
            The operator's attributes.
        """
        made = name or self._unique(op)
        names = [
            x.name if isinstance(x, Value) else self.constant(x, f"{made.removeprefix(self._path)}.{i}")
            for i, x in enumerate(inputs)
        ]
        self.nodes.append(library().helper.make_node(op, names, [made], made, **options))
        if shape is not None:
            return Value(made, shape, shape)
        return dataclasses.replace(next(x for x in inputs if isinstance(x, Value)), name=made)

    def output(self, x: Value, name: str) -> None:
        """Make `x` an output of the model, of this name; no other node may follow."""
        makers = [node for node in self.nodes if node.output[0] == x.name]
        if not makers:  # It is an input or another output, which keeps its name.
            kept = self._outputs.get(x.name, x.name)
            self.node("Identity", dataclasses.replace(x, name=kept), name=name)
            return
        self._outputs[x.name] = name
        for node in self.nodes:
            node.input[:] = [name if one == x.name else one for one in node.input]
        makers[0].name = makers[0].output[0] = name

    def constant(self, values: Any, name: str) -> str:
        """Return the name of a new constant: `name`, after that of the layer."""
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        if array.dtype.kind == "U":
            array = array.astype(object)  # as ONNX takes text
        made = self._unique(name)
        self.constants.append(library().numpy_helper.from_array(np.ascontiguousarray(array), made))
        return made

    def parameter(self, values: Any, name: str) -> Value:
        """Return a parameter of a layer as a constant of this name."""
        shape = np.shape(values)
        return Value(self.constant(values, name), shape, shape)

    def mean(self, x: Value, axes: Sequence[int], *, keepdims: bool) -> Value:
        """Return the mean over axes; the result is said to have the shape of `x`."""
        # An attribute until operator set 18, then an input.
        if self.opset < 18:
            return self.node("ReduceMean", x, axes=[*axes], keepdims=int(keepdims))
        return self.node("ReduceMean", x, np.array(axes, np.int64), keepdims=int(keepdims))

    def plain(self, x: Value) -> Value:
        """Return `x` stored as its shape says."""
        if x.order is not None:
            height, width, channels = x.order
            image = self.reshaped(x, (channels, height, width))
            turned = self._other_form("Transpose", image, x.order, perm=[0, 2, 3, 1])
            x = dataclasses.replace(turned, order=None)
        return self.reshaped(x, x.shape)

    def channels_first(self, x: Value) -> Value:
        """Return images stored as (batch, channels, height, width)."""
        height, width, channels = x.shape
        stored = channels, height, width
        if x.order == x.shape or (x.order is None and _is_same_either_way(x.shape)):
            return self.reshaped(x, stored)
        turned = self._other_form("Transpose", self.plain(x), stored, perm=[0, 3, 1, 2])
        return dataclasses.replace(turned, order=x.shape)

    def reshaped(self, x: Value, stored: Sizes) -> Value:
        """Return `x` stored with other axes, its elements in the same order."""
        if x.stored == stored:
            return x
        return self._other_form("Reshape", x, stored, np.array([0, *stored], np.int64))

    def images(self, op: str, x: Value, *others: Any, shape: Sizes, **options: Any) -> Value:
        """Return the output of an operator that takes and gives images with their channels first."""
        height, width, channels = shape
        made = self.node(op, self.channels_first(x), *others, shape=shape, **options)
        order = None if _is_same_either_way(shape) else shape
        return dataclasses.replace(made, stored=(channels, height, width), order=order)

    def _other_form(self, op: str, x: Value, stored: Sizes, *inputs: Any, **options: Any) -> Value:
        """Return `x` stored differently; the node is made once, however often it is asked for."""
        key = op, x.name, stored
        if key not in self._other_forms:
            self._other_forms[key] = self.node(op, x, *inputs, **options)
        return dataclasses.replace(x, name=self._other_forms[key].name, stored=stored)

    def _unique(self, name: str) -> str:
        full = f"{self._path}{name}"
        self._names[full] += 1
        return full if self._names[full] == 1 else f"{full}_{self._names[full]}"


def _is_same_either_way(image: Sizes) -> bool:
    """Return whether elements of (height, width, channels) have one order with channels first or last."""
    return image[2] == 1 or math.prod(image[:2]) == 1
