"""The layers and losses of xpnet in PyTorch; images are (batch, channels, height, width)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

import xpnet
from xpnet.layer import Shape
from xpnet_bench.peers.translation import Call, Table, windows_of

Tensor = Any

LOSSES = {
    "softmax_cross_entropy": F.cross_entropy,
    "sigmoid_cross_entropy": F.binary_cross_entropy_with_logits,
    "squared_error": F.mse_loss,
    "absolute_error": F.l1_loss,
    "huber_error": F.huber_loss,
}


def _elementwise(function: Any) -> Any:
    return lambda layer, shape: lambda own, x, training: function(x)


def _linear(layer: Any, shape: Shape) -> Call:
    return lambda own, x, training: torch.addmm(own["bias"], x, own["weight"])


def _gelu(layer: Any, shape: Shape) -> Call:
    return lambda own, x, training: F.gelu(x, approximate="tanh")


def _leaky_relu(layer: Any, shape: Shape) -> Call:
    slope = layer.slope
    return lambda own, x, training: F.leaky_relu(x, slope)


def _softmax(layer: Any, shape: Shape) -> Call:
    return lambda own, x, training: torch.softmax(x, 1)


def _dropout(layer: Any, shape: Shape) -> Call:
    rate = layer.rate
    return lambda own, x, training: F.dropout(x, rate, bool(training))


def _conv2d(layer: Any, shape: Shape) -> Call:
    over = windows_of(layer, shape)
    stride, dilation = ((over[0].stride, over[1].stride), (over[0].dilation, over[1].dilation))
    even, around = _padding(over)

    def call(own: Any, x: Tensor, training: Any) -> Tensor:
        x = F.pad(x, around) if even is None else x
        return F.conv2d(x, own["weight"], own["bias"], stride, even or 0, dilation, layer.groups)

    return call


def _padding(over: Any) -> tuple[tuple[int, int] | None, tuple[int, ...]]:
    """Return the padding as one number for each axis, None if sides differ, and as PyTorch's `pad` has it."""
    rows, columns = over
    is_even = all(window.before == window.after for window in over)
    around = columns.before, columns.after, rows.before, rows.after
    return ((rows.before, columns.before) if is_even else None), around


def _max_pool2d(layer: Any, shape: Shape) -> Call:
    over = windows_of(layer, shape)
    even, around = _padding(over)
    fits = even is not None and all(2 * window.before <= window.size for window in over)
    size, stride = ((over[0].size, over[1].size), (over[0].stride, over[1].stride))
    if fits:
        return lambda own, x, training: F.max_pool2d(x, size, stride, even)
    return lambda own, x, training: F.max_pool2d(F.pad(x, around, value=-torch.inf), size, stride)


def _avg_pool2d(layer: Any, shape: Shape) -> Call:
    over = windows_of(layer, shape)
    _, around = _padding(over)
    size, stride = ((over[0].size, over[1].size), (over[0].stride, over[1].stride))
    if not any(around):
        return lambda own, x, training: F.avg_pool2d(x, size, stride)

    def call(own: Any, x: Tensor, training: Any) -> Tensor:
        # Padding does not count.
        share = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), around), size, stride)
        return F.avg_pool2d(F.pad(x, around), size, stride) / share

    return call


def _global_avg_pool2d(layer: Any, shape: Shape) -> Call:
    return lambda own, x, training: x.mean((2, 3))


def _flatten(layer: Any, shape: Shape) -> Call:
    return lambda own, x, training: x.permute(0, 2, 3, 1).flatten(1)  # rows in our order: pixel by pixel


def _unflatten(layer: Any, shape: Shape) -> Call:
    height, width, channels = layer.height, layer.width, layer.channels
    if channels == 1:
        return lambda own, x, training: x.reshape(-1, 1, height, width)
    return lambda own, x, training: x.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()


def _layer_norm(layer: Any, shape: Shape) -> Call:
    n, eps = (layer.n,), layer.eps

    def rows(own: Any, x: Tensor, training: Any) -> Tensor:
        return F.layer_norm(x, n, own["scale"], own["shift"], eps)

    if len(shape) == 1:
        return rows
    return lambda own, x, training: rows(own, x.permute(0, 2, 3, 1), training).permute(0, 3, 1, 2)


def _batch_norm(layer: Any, shape: Shape) -> Call:
    momentum, eps = layer.momentum, layer.eps

    def call(own: Any, x: Tensor, training: Any) -> Tensor:
        state = own["mean"], own["variance"]  # written in place in training
        return F.batch_norm(x, *state, own["scale"], own["shift"], bool(training), momentum, eps)

    return call


def _standardize(layer: Any, shape: Shape) -> Call:
    ends = (1,) * (len(shape) - 1)

    def call(own: Any, x: Tensor, training: Any) -> Tensor:
        mean, deviation = (own[name].reshape(-1, *ends) for name in ("mean", "deviation"))
        return (x - mean) / deviation

    return call


TABLE: Table = {
    xpnet.Linear: _linear,
    xpnet.Sigmoid: _elementwise(torch.sigmoid),
    xpnet.ReLU: _elementwise(torch.relu),
    xpnet.Tanh: _elementwise(torch.tanh),
    xpnet.GELU: _gelu,
    xpnet.SiLU: _elementwise(F.silu),
    xpnet.LeakyReLU: _leaky_relu,
    xpnet.Softmax: _softmax,
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
