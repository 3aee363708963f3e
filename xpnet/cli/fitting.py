"""The options of ``xpnet train`` that say what is minimised, on which part of the data, and for how long."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from xpnet import EarlyStopping
from xpnet.cli.options import COUNT, Command
from xpnet.datasets import Dataset
from xpnet.losses import KINDS, LOSSES, Loss
from xpnet.run import Run
from xpnet.weights import BALANCED, divided

_SHARE = 0.1


def share(value: str) -> float:
    """Return a share of the training samples, above 0 and below 1."""
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise click.BadParameter(f"{value!r} is no share; pass a number above 0 and below 1, such as 0.1")
    return found


def class_weights(value: str) -> str | dict[str, float]:
    """Return the weights of classes written as ``balanced`` or ``0=1,cat=2.5``."""
    if value == BALANCED:
        return value
    found = {}
    for part in value.split(","):
        name, _, number = part.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise click.BadParameter(
                f"{part!r} is no weight of a class; pass {BALANCED}, or weights as in 0=1,1=5 or cat=1,dog=5"
            )
    return found


loss_option = click.option(
    "--loss",
    type=click.Choice(list(LOSSES)),
    help="[default: squared_error for values to predict, else softmax_cross_entropy]",
)


def fit_options(command: Command) -> Command:
    """Add the options of the loss, the validation set and early stopping."""
    options = [
        loss_option,
        click.option(
            "--label-smoothing",
            type=float,
            metavar="SHARE",
            help="Move this share of each target to the other classes; only cross-entropies.",
        ),
        click.option(
            "--class-weight",
            type=class_weights,
            metavar="WEIGHTS",
            help="balanced, so that all classes count the same; or weights by class, as in 0=1,1=5.",
        ),
        click.option(
            "--validation",
            type=share,
            metavar="SHARE",
            help=f"Keep this share of the training data to validate after each epoch. [default: none, or "
            f"{_SHARE:g} with --patience]",
        ),
        click.option(
            "--patience",
            type=COUNT,
            metavar="N",
            help="Stop after N epochs without a lower validation loss, and keep the parameters of the best.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def parted(config: dict[str, Any], training: Dataset) -> tuple[Dataset, Dataset | None]:
    """Return what to train on and what to validate with, by the options."""
    share = config["validation"]
    if share is None and config["patience"] is not None:
        share = _SHARE
    return divided(training, share, seed=config["seed"])


def fit_arguments(config: dict[str, Any], training: Dataset, loaded: Run | None) -> dict[str, Any]:
    """Return arguments of `xpnet.fit` by the options; what is not used is taken out of `config`.

    Parameters
    ----------
    config : dict
    training : Dataset
    loaded : Run or None
        What the training begins with.
    """
    if config["patience"] is not None and config["validation"] is None:
        config["validation"] = _SHARE
    arguments: dict[str, Any] = {
        "loss": _loss(config, training, loaded),
        "callbacks": [] if config["patience"] is None else [EarlyStopping(config["patience"])],
    }
    if config["class_weight"] is not None:
        arguments["class_weight"] = _by_class(config["class_weight"], training)
    if loaded is not None:
        arguments |= {"params": loaded.params, **dataclasses.asdict(loaded.scaling)}
    for name in ("loss", "label_smoothing", "class_weight", "validation", "patience"):
        if config[name] is None:
            del config[name]
    return arguments


def _loss(config: dict[str, Any], training: Dataset, loaded: Run | None) -> str | Loss:
    if loaded is not None and config["loss"] is config["label_smoothing"] is None:
        return loaded.loss
    name = config["loss"] or ("softmax_cross_entropy" if training.has_labels else "squared_error")
    kind = KINDS[name]
    if config["label_smoothing"] is None:
        return kind()
    if not hasattr(kind, "label_smoothing"):
        raise click.UsageError(f"`--label-smoothing` is for cross-entropies, not for {name}; leave it out")
    try:
        return kind(label_smoothing=config["label_smoothing"])
    except ValueError as e:
        raise click.UsageError(str(e)) from e


def _by_class(weights: Any, training: Dataset) -> Any:
    """Return weights by names of classes, or by numbers where a key is no name but a number."""
    if isinstance(weights, str):
        return weights
    names = training.classes or ()
    return {
        int(key) if key not in names and key.isdecimal() else key: value for key, value in weights.items()
    }
