"""``xpnet train``."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import click

import xpnet
from xpnet import plots
from xpnet.cli.crowding import crowding
from xpnet.cli.fitting import fit_arguments, fit_options
from xpnet.cli.interruption import Interruption
from xpnet.cli.networks import choose_network, network, network_options, output_count
from xpnet.cli.optimizers import make_optimizer, optimizer_options, scheduled
from xpnet.cli.options import (
    COUNT,
    backend_option,
    check_distinct,
    data_options,
    image_size,
    json_option,
    output_option,
)
from xpnet.cli.outputs import Outputs
from xpnet.cli.ranks import group_of, rank_options
from xpnet.cli.resuming import Saving, checkpoint_options
from xpnet.cli.tables import TableOptions, table_options
from xpnet.cli.training_data import Sources, TrainingData
from xpnet.cli.wanted import Wanted, rescue
from xpnet.distributed import read_once
from xpnet.distributed.agreement import check_alike
from xpnet.epoch_lines import epoch_line
from xpnet.models import Sequential
from xpnet.progress import is_terminal
from xpnet.run import in_reach


@click.command()
@backend_option
@data_options
@click.option(
    "--size",
    type=image_size,
    metavar="H,W",
    help="Resize pictures to this height and width. [default: their own, which must be the same for all]",
)
@table_options
@network_options
@optimizer_options
@fit_options
@click.option("--batch-size", type=COUNT, default=128, show_default=True)
@click.option("--epochs", type=COUNT, default=9, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=138, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--tf32", is_flag=True, help="Let large float32 products be rounded to TF32; only on cupy.")
@click.option("--limit", type=COUNT, metavar="N", help="Use only the first N training samples.")
@rank_options
@checkpoint_options
@output_option("--save", what="Write the model (safetensors).")
@json_option("backend, versions, configuration, history, times of each process and confusion matrix")
@output_option("--plot", what="Draw loss and accuracy (PNG, SVG or PDF).")
@click.option("--quiet", is_flag=True, help="Print only errors.")
def train(
    backend: str | None,
    kind: str | None,
    load: pathlib.Path | None,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    size: tuple[int, int] | None,
    tf32: bool,
    distributed: bool,
    shard: bool,
    limit: int | None,
    save: pathlib.Path | None,
    json_path: pathlib.Path | None,
    plot: pathlib.Path | None,
    quiet: bool,
    **config: Any,
) -> None:
    """Train a multilayer perceptron or a convolutional network.

    The defaults are the improved network of the course "Neural Network from Scratch" by Subash Gandyer: 64
    sigmoid units and softmax, momentum 0.9 as a moving average with learning rate 4, batches of 128, 9
    epochs, on MNIST. With --model cnn, it is LeNet-5 with ReLU and learning rate 0.5, which takes images of
    at least 12 x 12 pixels.
    """
    group = group_of(distributed=distributed, shard=shard)
    say: Callable[[str], object] = (lambda line: None) if quiet or group.rank else _say
    with group.guarded():
        with group.together():
            saving = Saving(config, say)
            table = TableOptions(*(config.pop(name) for name in ("target", "one_hot", "task")))
            choose_network(kind, load, config)
            optimizer = make_optimizer(config)
            check_distinct(data, save=save, json=json_path, plot=plot)
            check_distinct(load, json=json_path, plot=plot)
            if plot is not None and group.rank == 0:
                plots.check(plot)
            xp = xpnet.backend(backend)
            if tf32:
                xp = xp.with_tf32()
            sources = Sources(dataset, data, max_bytes, size, table, limit, load)
        check_alike(group, {name: str(value) for name, value in vars(sources).items()})
        found = read_once(group, lambda: sources.read(xp, config))
        with group.together():
            config["dataset"] = found.kind
            arguments = fit_arguments(config, found.training, found.loaded)
            steps = config["epochs"] * -(-len(found.training) // config["batch_size"])
            optimizer = scheduled(optimizer, config.get("schedule"), steps)
            config |= table.about()
            model, described = _network(found, config, data)
        crowded = crowding(group, xp)

    ranks = f", {group.size} rank{'s' * (group.size > 1)}" if group.is_split else ""
    say(f"{xp.name} on {xp.device_name()}{ranks}: {described}, {optimizer}")
    say(f"{_counts(found)}, batches of {config['batch_size']}")
    if crowded:
        say(crowded)
    config["data"] = None if data is None else str(data)
    config["limit"] = limit
    if size is not None:
        config["size"] = size
    wanted = Wanted(save, json_path, plot, found.testing, config, say)
    outputs = Outputs()
    try:
        run = xpnet.fit(
            xp,
            model,
            found.training,
            validation=found.validation,
            test=found.testing,
            optimizer=optimizer,
            callbacks=[
                saving,
                lambda run: say(epoch_line(run.history[-1], config["epochs"])),
                *arguments.pop("callbacks"),
            ],
            checkpoint=saving.checkpoint,
            resume=saving.resume,
            progress=is_terminal() and not quiet,  # the lines are printed by the callback
            distributed=group,
            **arguments,
            **{name: config[name] for name in ("epochs", "batch_size", "seed", "dtype")},
        )
        with group.guarded(), in_reach(run), group.together():
            if group.rank == 0:
                outputs = wanted.write(run)
    except (Exception, Interruption) as e:
        if group.rank or not (save or json_path or plot) or not hasattr(e, "run"):
            raise
        rescue(e, e.run, wanted)
    outputs.check()


def _network(
    found: TrainingData, config: dict[str, Any], data: pathlib.Path | None
) -> tuple[Sequential, str]:
    """Return the network to train, a new one or the loaded one, and its description."""
    if found.loaded is not None:
        return found.loaded.model, f"the network of {config['load']}"
    training = found.training
    outputs = output_count(training, found.testing, data)
    # Columns of a table have units of their own; pixels have one.
    return network(training.inputs, outputs, config, standardize=training.encoding is not None)


def _counts(found: TrainingData) -> str:
    """Return how many samples there are of each part."""
    inputs = found.training.inputs
    kept = "" if found.validation is None else f", {len(found.validation)} validation"
    kind = "samples" if inputs.ndim == 2 and inputs.dtype != "uint8" else "images"
    return f"{len(inputs)} training{kept} and {len(found.testing)} test {kind}"


def _say(line: str) -> None:
    # click.echo would write through a progress bar. A closed pipe must not end a training.
    with contextlib.suppress(OSError, ValueError):
        print(line)
