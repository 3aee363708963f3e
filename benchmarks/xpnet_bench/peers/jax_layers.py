"""The layers and losses of xpnet in JAX, in xpnet's own order of axes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

import xpnet
from xpnet.layer import Shape
from xpnet_bench.peers.translation import Call, Table, windows_of

Array = Any

# By default JAX rounds float32 factors to TF32 on a GPU; the others do not.
_PRECISION = jax.lax.Precision.HIGHEST
_drawers = itertools.count()  # so that no two layers draw the same


def softmax_cross_entropy(z: Array, targets: Array) -> Array:
    """Return the mean loss of class indices or of the probabilities of classes."""
    log_p = jax.nn.log_softmax(z)
    if targets.ndim == 1:
        return -jnp.mean(jnp.take_along_axis(log_p, targets[:, None], axis=1))
    return -jnp.mean(jnp.sum(targets * log_p, axis=1))


def _sigmoid_cross_entropy(z: Array, targets: Array) -> Array:
    return jnp.mean(jnp.maximum(z, 0) - z * targets + jnp.log1p(jnp.exp(-jnp.abs(z))))


def _huber_error(y: Array, targets: Array) -> Array:
    size = jnp.abs(y - targets)
    return jnp.mean(jnp.where(size <= 1, size * size / 2, size - 0.5))


LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
    "squared_error": lambda y, targets: jnp.mean((y - targets) ** 2),
    "absolute_error": lambda y, targets: jnp.mean(jnp.abs(y - targets)),
    "huber_error": _huber_error,
}


def _elementwise(function: Any) -> Any:
    return lambda layer, shape: lambda own, x, key: function(x)


def _linear(layer: Any, shape: Shape) -> Call:
    return lambda own, x, key: jnp.matmul(x, own["weight"], precision=_PRECISION) + own["bias"]


def _leaky_relu(layer: Any, shape: Shape) -> Call:
    slope = layer.slope
    return lambda own, x, key: jnp.where(x > 0, x, slope * x)


def _dropout(layer: Any, shape: Shape) -> Call:
    kept, number = 1 - layer.rate, next(_drawers)

    def call(own: Any, x: Array, key: Any) -> Array:
        if key is None:
            return x
        mask = jax.random.bernoulli(jax.random.fold_in(key, number), kept, x.shape)
        return jnp.where(mask, x / kept, 0)

    return call


def _conv2d(layer: Any, shape: Shape) -> Call:
    over = windows_of(layer, shape)
    options: dict[str, Any] = {
        "window_strides": [window.stride for window in over],
        "padding": [(window.before, window.after) for window in over],
        "rhs_dilation": [window.dilation for window in over],
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        "feature_group_count": layer.groups,
        "precision": _PRECISION,
    }
    return lambda own, x, key: jax.lax.conv_general_dilated(x, own["weight"], **options) + own["bias"]


def _reduced(x: Array, over: Any, initial: float, function: Any) -> Array:
    rows, columns = over
    sizes, strides = (1, rows.size, columns.size, 1), (1, rows.stride, columns.stride, 1)
    padding = (0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)
    return jax.lax.reduce_window(x, initial, function, sizes, strides, padding)


def _max_pool2d(layer: Any, shape: Shape) -> Call:
    over = windows_of(layer, shape)
    return lambda own, x, key: _reduced(x, over, -jnp.inf, jax.lax.max)


def _avg_pool2d(layer: Any, shape: Shape) -> Call:
    over = windows_of(layer, shape)
    counts = _reduced(jnp.ones((1, *shape[:2], 1)), over, 0.0, jax.lax.add)
    return lambda own, x, key: _reduced(x, over, 0.0, jax.lax.add) / counts


def _global_avg_pool2d(layer: Any, shape: Shape) -> Call:
    return lambda own, x, key: jnp.mean(x, axis=(1, 2))


def _flatten(layer: Any, shape: Shape) -> Call:
    return lambda own, x, key: x.reshape(len(x), -1)


def _unflatten(layer: Any, shape: Shape) -> Call:
    image = layer.height, layer.width, layer.channels
    return lambda own, x, key: x.reshape(-1, *image)


def _layer_norm(layer: Any, shape: Shape) -> Call:
    def call(own: Any, x: Array, key: Any) -> Array:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + layer.eps) * own["scale"] + own["shift"]

    return call


def _batch_norm(layer: Any, shape: Shape) -> Call:
    axes = tuple(range(len(shape)))

    def call(own: Any, x: Array, key: Any) -> Array:
        mean, variance = own["mean"], own["variance"]
        if key is not None:
            rows = math.prod(x.shape[:-1])
            mean = jnp.mean(x, axis=axes)
            variance = jnp.mean((x - mean) ** 2, axis=axes)
            for name, new in (("mean", mean), ("variance", variance * (rows / max(rows - 1, 1)))):
                own[name] = own[name] + layer.momentum * (jax.lax.stop_gradient(new) - own[name])
        return (x - mean) * jax.lax.rsqrt(variance + layer.eps) * own["scale"] + own["shift"]

    return call


def _standardize(layer: Any, shape: Shape) -> Call:
    return lambda own, x, key: (x - own["mean"]) / own["deviation"]


TABLE: Table = {
    xpnet.Linear: _linear,
    xpnet.Sigmoid: _elementwise(jax.nn.sigmoid),
    xpnet.ReLU: _elementwise(jax.nn.relu),
    xpnet.Tanh: _elementwise(jnp.tanh),
    xpnet.GELU: _elementwise(jax.nn.gelu),  # the approximation, as here
    xpnet.SiLU: _elementwise(jax.nn.silu),
    xpnet.LeakyReLU: _leaky_relu,
    xpnet.Softmax: _elementwise(jax.nn.softmax),
    xpnet.Dropout: _dropout,
    xpnet.Conv2d: _conv2d,
    xpnet.MaxPool2d: _max_pool2d,
    xpnet.AvgPool2d: _avg_pool2d,
    xpnet.GlobalAvgPool2d: _global_avg_pool2d,
    xpnet.Flatten: _flatten,
    xpnet.Unflatten: _unflatten,
    xpnet.LayerNorm: _layer_norm,
    xpnet.BatchNorm: _batch_norm,
    xpnet.Standardize: _standardize,
}
