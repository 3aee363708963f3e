"""The networks that ``xpnet train`` makes."""

from __future__ import annotations

import math
from typing import Any

import numpy

import xpnet
from xpnet.models import Sequential

MLP, CNN = "mlp", "cnn"


def network(images: numpy.ndarray, classes: int, config: dict[str, Any]) -> tuple[Sequential, str]:
    """Return the network that `config` names, for such images, and its description."""
    activation = config["activation"]
    if config.get("model") == CNN:
        shape = _image_shape(images)
        model = xpnet.lenet5(classes, shape=shape, activation=activation)
        return model, f"LeNet-5 {'x'.join(map(str, shape))}-{classes} {activation}"
    sizes = (math.prod(images.shape[1:]), *config["hidden"], classes)
    named = f" {activation}" if config["hidden"] else ""
    return xpnet.mlp(*sizes, activation=activation), f"{'-'.join(map(str, sizes))}{named}"


def _image_shape(images: numpy.ndarray) -> tuple[int, int, int]:
    """Return height, width and channels; rows of features are taken as square images with one channel."""
    if images.ndim > 2:
        height, width, channels = (*images.shape[1:], 1)[:3]
        return height, width, channels
    side = math.isqrt(images.shape[1])
    if side * side != images.shape[1]:
        raise ValueError(
            f"a {CNN} takes rows of features as square images, but these have {images.shape[1]} features; "
            f"train an {MLP}"
        )
    return side, side, 1
