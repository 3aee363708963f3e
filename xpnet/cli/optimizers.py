"""The options of ``xpnet train`` that choose an optimizer, and the optimizer that they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click

import xpnet
from xpnet.cli.options import Command
from xpnet.layers import ACTIVATIONS, Activation
from xpnet.optim import OPTIMIZERS, Optimizer, usual_lr
from xpnet.schedules import SCHEDULES, Constant, Step, Warmup

_AVERAGED = [name for name, kind in OPTIMIZERS.items() if hasattr(kind, "beta")]
_CONSTANT = "constant"
_DROPS = 3  # stretches of equal length with --schedule step, each with a tenth of the rate before
_WARMING = 10  # one part in so many of all steps is warm-up


def usual_lrs() -> str:
    """Return the default learning rates as text for the help."""
    behind = [
        f"hidden {name} units of mlp {kind.usual_lr:g}"
        for name, kind in ACTIVATIONS.items()
        if "usual_lr" in vars(kind)
    ]
    own = [f"{name} {kind.lr:g}" for name, kind in OPTIMIZERS.items() if hasattr(kind, "lr")]
    return "; ".join([", ".join([*behind, f"others {Activation.usual_lr:g}"]), *own])


def rule_options() -> list[Callable[[Command], Command]]:
    """Return the options of the optimizer and its constant learning rate, which other commands share."""
    return [
        click.option(
            "--optimizer", type=click.Choice(list(OPTIMIZERS)), default="momentum", show_default=True
        ),
        click.option("--lr", type=float, help=f"Learning rate. [default: {usual_lrs()}]"),
        click.option(
            "--beta",
            type=float,
            help=f"Share of the old velocity; {', '.join(_AVERAGED)}. [default: {xpnet.Momentum.beta:g}]",
        ),
        click.option(
            "--weight-decay",
            type=float,
            metavar="DECAY",
            help="Multiply all parameters by 1 - lr DECAY at each step (decoupled). "
            f"[default: adamw {xpnet.AdamW.weight_decay:g}, others 0]",
        ),
    ]


def optimizer_options(command: Command) -> Command:
    """Add the options of the optimizer and its learning rate."""
    options = [
        *rule_options(),
        click.option(
            "--schedule",
            type=click.Choice(list(SCHEDULES)),
            default=_CONSTANT,
            show_default=True,
            help="How the learning rate changes: step divides it by 10 after each third of all steps; "
            f"cosine takes it to 0; warmup takes the first {100 // _WARMING} % of the steps to reach it; "
            "one_cycle rises to it and falls.",
        ),
        click.option(
            "--clip-norm", type=float, metavar="NORM", help="Scale gradients down to this norm at most."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def usual_rate(config: dict[str, Any]) -> float:
    """Return the default learning rate of the network and the optimizer that `config` describes."""
    # At the rate that suits sigmoid units of a perceptron, 4, those of LeNet-5 learn nothing in an epoch.
    return usual_lr(config["optimizer"], config["activation"] if config.get("hidden") else None)


def make_optimizer(config: dict[str, Any]) -> Optimizer:
    """Return the optimizer that `config` names, without a schedule; its defaults are filled in there."""
    name = config["optimizer"]
    kind: Any = OPTIMIZERS[name]
    if config["beta"] is None:
        config["beta"] = getattr(kind, "beta", None)
    elif name not in _AVERAGED:
        raise click.UsageError(f"`--beta` is for {' and '.join(_AVERAGED)}, not for {name}")
    if config["lr"] is None:
        config["lr"] = usual_rate(config)
    for option in ("weight_decay", "clip_norm"):
        if config[option] is None:
            del config[option]
    if config["schedule"] == _CONSTANT:
        del config["schedule"]
    names = "lr", "beta", "weight_decay", "clip_norm"
    options = {name: config[name] for name in names if config.get(name) is not None}
    try:
        return kind(**options)
    except ValueError as e:
        raise click.UsageError(str(e)) from e


def scheduled(optimizer: Any, schedule: str | None, steps: int) -> Optimizer:
    """Return an optimizer whose rate follows a schedule, by its name, in a training of so many steps."""
    if schedule is None:
        return optimizer
    lr = optimizer.lr
    if schedule == "step":
        return dataclasses.replace(optimizer, lr=Step(lr, every=-(-steps // _DROPS)))
    if schedule == "warmup":
        return dataclasses.replace(optimizer, lr=Warmup(-(-steps // _WARMING), Constant(lr)))
    kind = SCHEDULES[schedule]
    return dataclasses.replace(optimizer, lr=kind(lr, steps))
