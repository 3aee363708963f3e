"""The options of ``xpnet train`` that choose a network, and the network that they describe."""

from __future__ import annotations

import math
import pathlib
import re
from typing import Any

import click
import numpy

import xpnet
from xpnet.cli.options import Command
from xpnet.datasets import Dataset
from xpnet.layers import ACTIVATIONS
from xpnet.models import Sequential

MLP, CNN = "mlp", "cnn"


def widths(value: str) -> tuple[int, ...]:
    """Return the widths of the hidden layers written as ``64``, ``512,256`` or ``none``."""
    if value == "none":
        return ()
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", value):
        raise click.BadParameter(
            f"{value!r} is no list of widths; pass one as in 64, several as in 512,256, or none"
        )
    return tuple(int(width) for width in value.split(","))


activation_option = click.option(
    "--activation",
    type=click.Choice(list(ACTIVATIONS)),
    help="Follows each hidden layer. [default: relu for cnn, else sigmoid]",
)


def network_options(command: Command) -> Command:
    """Add the options of the network, and ``--load`` for one that was trained before."""
    options = [
        click.option(
            "--model",
            "kind",
            type=click.Choice([MLP, CNN]),
            help="mlp is a multilayer perceptron; cnn is a convolutional network, LeNet-5. [default: mlp]",
        ),
        click.option(
            "--hidden",
            type=widths,
            metavar="WIDTHS",
            help="Widths of the hidden layers: 64, or 512,256, or none; only mlp. [default: 64]",
        ),
        activation_option,
        click.option(
            "--dropout",
            type=float,
            metavar="RATE",
            help="Set this share of the outputs of hidden linear layers to 0 in training.",
        ),
        click.option(
            "--load",
            metavar="MODEL",
            type=click.Path(path_type=pathlib.Path),
            help="Begin with the network and the parameters of a saved model.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def choose_network(kind: str | None, load: pathlib.Path | None, config: dict[str, Any]) -> None:
    """Fill in to `config` the network of this kind and its defaults, or raise if an option is not for it."""
    if load is not None:
        options = {name: config.pop(name) for name in ("hidden", "activation", "dropout")}
        for name, value in {"model": kind, **options}.items():
            if value is not None:
                raise click.UsageError(
                    f"`--{name}` is for a new network, but `--load` reads one; leave one of them out"
                )
        config |= {"load": str(load), "activation": None}
        return
    if kind == CNN:
        if config.pop("hidden") is not None:
            raise click.UsageError(f"`--hidden` is for {MLP}, not for {CNN}; leave it out")
        config["model"] = kind
    elif config["hidden"] is None:
        config["hidden"] = (64,)
    if config["activation"] is None:
        config["activation"] = "relu" if kind == CNN else "sigmoid"
    if config["dropout"] is None:
        del config["dropout"]


def network(
    images: numpy.ndarray, outputs: int, config: dict[str, Any], *, standardize: bool = False
) -> tuple[Sequential, str]:
    """Return the network that `config` names, for such images, and its description.

    With `standardize`, it begins with a layer that is adapted to the training inputs.
    """
    activation = config["activation"]
    if config.get("model") == CNN:
        shape = _image_shape(images)
        model = xpnet.lenet5(outputs, shape=shape, activation=activation)
        described = f"LeNet-5 {'x'.join(map(str, shape))}-{outputs} {activation}"
    else:
        sizes = (math.prod(images.shape[1:]), *config["hidden"], outputs)
        model = xpnet.mlp(*sizes, activation=activation)
        described = "-".join(map(str, sizes)) + (f" {activation}" if config["hidden"] else "")
    if "dropout" in config:
        model = _with_dropout(model, config["dropout"])
        described += f", dropout {config['dropout']:g}"
    if standardize:
        model = Sequential(xpnet.Standardize(images.shape[-1]), *model.layers)
        described += ", standardised inputs"
    return model, described


def output_count(training: Dataset, testing: Dataset, data: pathlib.Path | None) -> int:
    """Return how many outputs a network needs for such targets: a number each, or one for each class."""
    if not training.has_labels:
        return int(training.targets.shape[1])
    # Classes with names, or up to the largest label.
    classes = len(training.classes or ()) or 1 + int(max(training.labels.max(), testing.labels.max()))
    if classes < 2:
        raise ValueError(f"all labels in {str(data)!r} are 0; add images of a second class")
    return classes


def _with_dropout(model: Sequential, rate: float) -> Sequential:
    """Return a model with dropout after the activation of each hidden linear layer."""
    try:
        dropout = xpnet.Dropout(rate)
    except ValueError as e:
        raise click.UsageError(str(e)) from e
    layers: list[Any] = []
    for before, layer in zip((None, *model.layers), model.layers, strict=False):
        layers.append(layer)
        if isinstance(before, xpnet.Linear):
            layers.append(dropout)
    if dropout not in layers:
        raise click.UsageError("`--dropout` follows hidden layers, and the network has none; leave it out")
    return Sequential(*layers)


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
