"""The options of ``xpnet bench`` that say what is raced."""

from __future__ import annotations

from typing import Any

import click

from xpnet.cli.fitting import loss_option
from xpnet.cli.networks import activation_option, widths
from xpnet.cli.options import COUNT
from xpnet_bench.networks import NETWORKS

network_options = (
    click.option(
        "--network",
        type=click.Choice(list(NETWORKS)),
        help="784-64-10 with sigmoids, or LeNet-5, which has convolutions. [default: mlp]",
    ),
    click.option(
        "--hidden",
        type=widths,
        metavar="WIDTHS",
        help="A perceptron with hidden layers of these widths: 64, or 512,256, or none.",
    ),
    activation_option,
    click.option(
        "--model",
        metavar="FILE:NAME",
        help="A network in a Python file, as net.py:model: an xpnet.Sequential, or a function that returns "
        "one. The file is run.",
    ),
)

training_options = (
    click.option("--batch-size", type=COUNT, help="[default: 128; with --distributed 1024]"),
    loss_option,
    click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=138, show_default=True),
    click.option("--limit", type=COUNT, metavar="N", help="Use only the first N training samples."),
)


def check_network(options: dict[str, Any]) -> None:
    """Raise unless at most one network is named."""
    named = [name for name in ("network", "hidden", "model") if options[name] is not None]
    if len(named) > 1:
        first, second = (f"`--{name}`" for name in named[:2])
        raise click.UsageError(f"{first} and {second} both name a network; leave one of them out")
    if options["model"] is not None and options["activation"] is not None:
        raise click.UsageError(
            "`--activation` is for a perceptron or LeNet-5, not for `--model`; leave it out"
        )
