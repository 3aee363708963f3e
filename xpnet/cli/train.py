"""``xpnet train``."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import platform
import re
import statistics
from collections.abc import Callable
from typing import Any, NoReturn

import click

import xpnet
from xpnet import plots
from xpnet.cli.data import IMAGES
from xpnet.cli.doubts import doubt
from xpnet.cli.interruption import Interruption, uninterrupted
from xpnet.cli.networks import CNN, MLP, network
from xpnet.cli.options import (
    COUNT,
    backend_option,
    check_distinct,
    data_options,
    find_kind,
    image_size,
    json_bytes,
    json_option,
    output_option,
    read_data,
)
from xpnet.cli.outputs import Outputs, RescuedError
from xpnet.cli.resuming import Saving, checkpoint_options
from xpnet.datasets import Dataset
from xpnet.epoch_lines import epoch_line
from xpnet.errors import shortened
from xpnet.evaluation import Evaluation
from xpnet.files import write_whole
from xpnet.layers import ACTIVATIONS, Activation
from xpnet.optim import OPTIMIZERS, Optimizer, usual_lr
from xpnet.progress import is_terminal
from xpnet.run import Run, in_reach

_AVERAGED = [name for name, kind in OPTIMIZERS.items() if hasattr(kind, "beta")]


def _usual_lrs() -> str:
    """Return the default learning rates as text for the help."""
    behind = [
        f"hidden {name} units of mlp {kind.usual_lr:g}"
        for name, kind in ACTIVATIONS.items()
        if "usual_lr" in vars(kind)
    ]
    own = [f"{name} {kind.lr:g}" for name, kind in OPTIMIZERS.items() if hasattr(kind, "lr")]
    return "; ".join([", ".join([*behind, f"others {Activation.usual_lr:g}"]), *own])


def widths(value: str) -> tuple[int, ...]:
    """Return the widths of the hidden layers written as ``64``, ``512,256`` or ``none``."""
    if value == "none":
        return ()
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", value):
        raise click.BadParameter(
            f"{value!r} is no list of widths; pass one as in 64, several as in 512,256, or none"
        )
    return tuple(int(width) for width in value.split(","))


@click.command()
@backend_option
@data_options
@click.option(
    "--size",
    type=image_size,
    metavar="H,W",
    help="Resize pictures to this height and width. [default: their own, which must be the same for all]",
)
@click.option(
    "--model",
    "kind",
    type=click.Choice([MLP, CNN]),
    default=MLP,
    show_default=True,
    help="mlp is a multilayer perceptron; cnn is a convolutional network, LeNet-5.",
)
@click.option(
    "--hidden",
    type=widths,
    metavar="WIDTHS",
    help="Widths of the hidden layers: 64, or 512,256, or none; only mlp. [default: 64]",
)
@click.option(
    "--activation",
    type=click.Choice(list(ACTIVATIONS)),
    help="Follows each hidden layer. [default: relu for cnn, else sigmoid]",
)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="momentum", show_default=True)
@click.option("--lr", type=float, help=f"Learning rate. [default: {_usual_lrs()}]")
@click.option(
    "--beta",
    type=float,
    help=f"Share of the old velocity; {', '.join(_AVERAGED)}. [default: {xpnet.Momentum.beta:g}]",
)
@click.option("--batch-size", type=COUNT, default=128, show_default=True)
@click.option("--epochs", type=COUNT, default=9, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=138, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--tf32", is_flag=True, help="Let large float32 products be rounded to TF32; only on cupy.")
@click.option("--limit", type=COUNT, metavar="N", help="Train only on the first N images.")
@checkpoint_options
@output_option("--save", what="Write the model (safetensors).")
@json_option("backend, versions, configuration, history and confusion matrix")
@output_option("--plot", what="Draw loss and accuracy (PNG, SVG or PDF).")
@click.option("--quiet", is_flag=True, help="Print only errors.")
def train(
    backend: str | None,
    kind: str,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    size: tuple[int, int] | None,
    tf32: bool,
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
    say: Callable[[str], object] = (lambda line: None) if quiet else _say
    saving = Saving(config, say)
    _choose_network(kind, config)
    optimizer = _optimizer(config)
    check_distinct(save=save, json=json_path, plot=plot)
    if plot is not None:
        plots.check(plot)
    xp = xpnet.backend(backend)
    if tf32:
        xp = xp.with_tf32()
    config["dataset"] = find_kind(dataset, data, max_bytes)
    training, testing = read_data(config["dataset"], data, max_bytes, size)
    if size is not None and config["dataset"] != IMAGES:
        raise click.UsageError("`--size` is for folders of pictures; leave it out")
    training = training[:limit]
    classes = 1 + int(max(training.labels.max(), testing.labels.max()))
    if classes < 2:
        raise ValueError(f"all labels in {str(data)!r} are 0; add images of a second class")
    model, described = network(training.images, classes, config)

    say(f"{xp.name} on {xp.device_name()}: {described}, {optimizer}")
    say(f"{len(training)} training and {len(testing)} test images, batches of {config['batch_size']}")
    config["data"] = None if data is None else str(data)
    config["limit"] = limit
    if size is not None:
        config["size"] = size
    wanted = _Wanted(save, json_path, plot, testing, config, say)
    try:
        run = xpnet.fit(
            xp,
            model,
            training,
            test=testing,
            optimizer=optimizer,
            callbacks=[saving, lambda run: say(epoch_line(run.history[-1], config["epochs"]))],
            checkpoint=saving.checkpoint,
            resume=saving.resume,
            progress=is_terminal() and not quiet,  # the lines are printed by the callback
            **{name: config[name] for name in ("epochs", "batch_size", "seed", "dtype")},
        )
        with in_reach(run):
            outputs = wanted.write(run)
    except (Exception, Interruption) as e:
        if not (save or json_path or plot) or not hasattr(e, "run"):
            raise
        _rescue(e, e.run, wanted)
    outputs.check()


def _say(line: str) -> None:
    # click.echo would write through a progress bar. A closed pipe must not end a training.
    with contextlib.suppress(OSError, ValueError):
        print(line)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """The files that are wanted of a run, and what is needed to write them."""

    save: pathlib.Path | None
    json_path: pathlib.Path | None
    plot: pathlib.Path | None
    testing: Dataset
    config: dict[str, Any]
    say: Callable[[str], object]

    def write(self, run: Run) -> Outputs:
        """Evaluate a run and write the files; return what was written and what failed."""
        outputs = Outputs()
        outputs.write("saved", self.save, run.save)  # first, because it would take longest to redo
        evaluation = run.evaluate(self.testing)
        median = statistics.median(epoch.seconds for epoch in run.history)
        if run.report:
            self.say(f"steps were not sped up: {run.report}")
        self.say(f"test accuracy {evaluation.accuracy:.2%}; {median:#.3g} s an epoch (median)")
        line = doubt(evaluation.confusion, self.config["lr"], _usual_lr(self.config))
        if line:
            self.say(line)
        results = _results(run, self.config, evaluation)
        outputs.write("wrote", self.json_path, lambda path: write_whole(path, json_bytes(results)))
        outputs.write("drew", self.plot, lambda path: plots.history(run.history, path, loss=run.loss))
        for line in outputs.lines:
            self.say(line)
        return outputs


def _rescue(error: BaseException, run: Run, wanted: _Wanted) -> NoReturn:
    """Write the files of a training that `error` interrupted, and raise an error that says so."""
    text = shortened(error).removesuffix(".") or type(error).__name__
    if run.history:
        with uninterrupted():
            outputs = wanted.write(run)
        done = [f"{line} as epoch {len(run.history)} left it" for line in outputs.lines]
        message = "; ".join([text, *done, *outputs.failures])
    else:
        message = f"{text}; no epoch was done, so nothing was written"
    if isinstance(error, Interruption):
        raise Interruption(message, error.status) from error
    raise RescuedError(message) from error


def _choose_network(kind: str, config: dict[str, Any]) -> None:
    """Fill in to `config` the network of this kind and its defaults, or raise if an option is not for it."""
    if kind == CNN:
        if config.pop("hidden") is not None:
            raise click.UsageError(f"`--hidden` is for {MLP}, not for {CNN}; leave it out")
        config["model"] = kind
    elif config["hidden"] is None:
        config["hidden"] = (64,)
    if config["activation"] is None:
        config["activation"] = "relu" if kind == CNN else "sigmoid"


def _optimizer(config: dict[str, Any]) -> Optimizer:
    """Return the optimizer that `config` names; its defaults are filled in to `config`."""
    name = config["optimizer"]
    kind: Any = OPTIMIZERS[name]
    if config["beta"] is None:
        config["beta"] = getattr(kind, "beta", None)
    elif name not in _AVERAGED:
        raise click.UsageError(f"`--beta` is for {' and '.join(_AVERAGED)}, not for {name}")
    if config["lr"] is None:
        config["lr"] = _usual_lr(config)
    options = {name: config[name] for name in ("lr", "beta") if config[name] is not None}
    try:
        return kind(**options)
    except ValueError as e:
        raise click.UsageError(str(e)) from e


def _usual_lr(config: dict[str, Any]) -> float:
    """Return the default learning rate of the network that `config` describes."""
    # At the rate that suits sigmoid units of a perceptron, 4, those of LeNet-5 learn nothing in an epoch.
    return usual_lr(config["optimizer"], config["activation"] if config.get("hidden") else None)


def _results(run: Run, config: dict[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    return {
        "backend": run.xp.name,
        "device": run.xp.device_name(),
        "versions": {
            "xpnet": xpnet.__version__,
            "python": platform.python_version(),
            **run.xp.versions,
        },
        "config": config,
        "initial_sha256": run.initial_sha256,
        "warm_up_seconds": run.warm_up_seconds,
        "report": run.report,
        "history": [dataclasses.asdict(epoch) for epoch in run.history],
        "confusion": evaluation.confusion.tolist(),
    }
