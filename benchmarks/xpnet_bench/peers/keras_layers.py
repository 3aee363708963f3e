"""The layers, losses and optimizers of xpnet in Keras, in xpnet's own order of axes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

import xpnet
from xpnet.layer import Shape, state_shapes
from xpnet.widths import shape_after
from xpnet_bench.peers.errors import NoEqualError
from xpnet_bench.peers.translation import found
from xpnet_bench.updates import Update

layers, losses = keras.layers, keras.losses

LOSSES: dict[str, Any] = {
    "softmax_cross_entropy": lambda: losses.CategoricalCrossentropy(from_logits=True),
    "sigmoid_cross_entropy": lambda: losses.BinaryCrossentropy(from_logits=True),
    "squared_error": losses.MeanSquaredError,
    "absolute_error": losses.MeanAbsoluteError,
    "huber_error": losses.Huber,
}


class Adam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose epsilon is added to the root of the unbiased square, as in the paper.

    Keras adds its `epsilon` before it corrects the bias, so it is given one that comes to the same.
    """

    @property
    def epsilon(self) -> Any:
        """The epsilon of this step."""
        step = keras.ops.cast(self.iterations + 1, "float32")
        return self._eps * keras.ops.sqrt(1 - keras.ops.power(np.float32(self.beta_2), step))

    @epsilon.setter
    def epsilon(self, value: float) -> None:
        self._eps = value


def optimizer(rule: Update) -> Any:
    """Return the optimizer of Keras that follows a rule."""
    options: dict[str, Any] = {"weight_decay": rule.decay / rule.lr if rule.decay else None}
    if rule.kind == "sgd":
        options |= {"momentum": rule.momentum, "nesterov": rule.nesterov}
        return keras.optimizers.SGD(rule.lr, **options)
    if rule.kind == "adam":
        return Adam(rule.lr, beta_1=rule.beta1, beta_2=rule.beta2, epsilon=rule.eps, **options)
    raise NoEqualError("its RMSprop adds epsilon inside the root")


def built(
    layer: Any, x: Any, shape: Shape, own: list[tuple[Any, list[str]]], params: Any, prefix: str = ""
) -> Any:
    """Return the symbolic output of a layer, perhaps a whole network.

    Parameters
    ----------
    layer : Layer
    x : symbolic tensor
    shape : Shape
        Of `x`, as xpnet has it.
    own : list
        Receives each Keras layer that has parameters, with xpnet's names of them.
    params : dict of str to NumPy array
    prefix : str
        Of the names of parameters.
    """
    if type(layer) is xpnet.Residual:
        return layers.Add()([x, built(layer.inner, x, shape, own, params, prefix)])
    if type(layer) is xpnet.Sequential:
        for i, each in enumerate(layer.layers):
            x = built(each, x, shape, own, params, f"{prefix}{i}.")
            shape = shape_after(each, shape) or ()
        return x
    states = {name: params[prefix + name] for name in state_shapes(layer)}
    made = found(TABLE, layer)(layer, states)
    if layer.shapes:
        own.append((made, [prefix + name for name in layer.shapes]))
    if isinstance(getattr(layer, "padding", None), int | tuple):
        around = layer.padding if isinstance(layer.padding, int) else tuple(layer.padding)
        x = layers.ZeroPadding2D(around)(x)
    return made(x)


def _activation(function: Any) -> Any:
    return lambda layer, states: layers.Activation(function)


def _leaky_relu(layer: Any, states: Mapping[str, Any]) -> Any:
    # Its own LeakyReLU has a slope of 1 at 0, where pixels of a background often are.
    return layers.Activation(lambda x: keras.ops.where(x > 0, x, layer.slope * x))


def _conv2d(layer: Any, states: Mapping[str, Any]) -> Any:
    strided, dilated = layer.stride != (1, 1), layer.dilation != (1, 1)
    if strided and dilated:
        raise NoEqualError("its Conv2D has either strides or a dilation")
    padding = layer.padding if isinstance(layer.padding, str) else "valid"
    return layers.Conv2D(
        layer.n_out,
        layer.kernel_size,
        strides=layer.stride,
        padding=padding,
        dilation_rate=layer.dilation,
        groups=layer.groups,
    )


def _pool(kind: Any) -> Any:
    def make(layer: Any, states: Mapping[str, Any]) -> Any:
        if not isinstance(layer.padding, str):
            raise NoEqualError("its pooling has no such padding")
        return kind(layer.size, strides=layer.stride, padding=layer.padding)

    return make


def _standardize(layer: Any, states: Mapping[str, Any]) -> Any:
    return layers.Normalization(mean=states["mean"], variance=states["deviation"] ** 2)


def _batch_norm(layer: Any, states: Mapping[str, Any]) -> Any:
    raise NoEqualError("its BatchNormalization moves towards another estimate of the variance")


TABLE: dict[type[Any], Any] = {
    xpnet.Linear: lambda layer, states: layers.Dense(layer.n_out),
    xpnet.Sigmoid: _activation("sigmoid"),
    xpnet.ReLU: _activation("relu"),
    xpnet.Tanh: _activation("tanh"),
    xpnet.GELU: _activation(functools.partial(keras.ops.gelu, approximate=True)),
    xpnet.SiLU: _activation("silu"),
    xpnet.LeakyReLU: _leaky_relu,
    xpnet.Softmax: _activation("softmax"),
    xpnet.Dropout: lambda layer, states: layers.Dropout(layer.rate),
    xpnet.Conv2d: _conv2d,
    xpnet.MaxPool2d: _pool(layers.MaxPooling2D),
    xpnet.AvgPool2d: _pool(layers.AveragePooling2D),
    xpnet.GlobalAvgPool2d: lambda layer, states: layers.GlobalAveragePooling2D(),
    xpnet.Flatten: lambda layer, states: layers.Flatten(),
    xpnet.Unflatten: lambda layer, states: layers.Reshape((layer.height, layer.width, layer.channels)),
    xpnet.LayerNorm: lambda layer, states: layers.LayerNormalization(epsilon=layer.eps),
    xpnet.BatchNorm: _batch_norm,
    xpnet.Standardize: _standardize,
}
