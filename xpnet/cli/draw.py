"""``xpnet draw``."""

from __future__ import annotations

import os
import pathlib
import sys
import threading
import time

import click

import xpnet
from xpnet import reprs
from xpnet.cli.networks import choose_network, network, output_count
from xpnet.cli.optimizers import make_optimizer
from xpnet.cli.options import backend_option
from xpnet.cli.train import train
from xpnet.namespace import Namespace
from xpnet.progress import is_terminal
from xpnet.run import Run


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=pathlib.Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Of 127.0.0.1; 0 takes a free one. [default: 7840, or a free one if that is taken]",
)
@backend_option
@click.option(
    "--browser/--no-browser",
    default=None,
    help="Open the page in a browser. [default: do so from a terminal on a desktop]",
)
def draw(model: pathlib.Path | None, port: int | None, backend: str | None, browser: bool | None) -> None:
    """Open a page on which one draws a digit and sees what a saved MODEL makes of it.

    The page shows the probability of each class while one draws, the picture that the model gets, the hidden
    units and, of a convolutional network, the images that its filters make; `xpnet train --model cnn` trains
    one. The model takes grey pictures of 28 x 28 pixels. Without MODEL, the network of `xpnet train` is
    trained first, which takes seconds.

    Only this computer can open the page, and it loads nothing from the internet. Ctrl-C ends it.
    """
    import webbrowser  # late, because other commands must not pay for these

    from xpnet import draw as drawing

    drawing.check_installed()
    xp = xpnet.backend(backend)
    with drawing.listening(port) as listener:
        run = trained(xp) if model is None else xpnet.load(model, xp)
        answers = drawing.Answers(run, "the trained network" if model is None else str(model))
        own = listener.getsockname()[1]
        if port is None and own != drawing.PORT:
            click.echo(f"port {drawing.PORT} is taken, so this is {own}")
        url = f"http://{drawing.ADDRESS}:{own}"
        click.echo(f"draw on {url} (Ctrl-C ends it)")
        sys.stdout.flush()  # for a program that reads the address from a pipe
        if _has_desktop() if browser is None else browser:
            # In a thread, because some browsers are waited for.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        drawing.serve(answers, listener)


def trained(xp: Namespace) -> Run:
    """Return the default network of `xpnet train`, trained on MNIST."""
    with train.make_context("train", []) as context:
        config = context.params
    choose_network(config["kind"], config["load"], config)
    optimizer = make_optimizer(config)
    training, testing = xpnet.datasets.mnist()
    model, _ = network(training.inputs, output_count(training, testing, None), config)
    widths = reprs.widths(model.layers)
    click.echo(f"no model is named, so {widths} is trained on MNIST: {config['epochs']} epochs on {xp.name}")
    begin = time.perf_counter()
    options = {name: config[name] for name in ("epochs", "batch_size", "seed", "dtype")}
    run = xpnet.fit(xp, model, training, test=testing, optimizer=optimizer, **options)
    click.echo(
        f"trained in {time.perf_counter() - begin:.1f} s: test accuracy {run.history[-1].test_accuracy:.2%}; "
        "to skip this, run `xpnet train --save model.safetensors` once, then `xpnet draw model.safetensors`"
    )
    return run


def _has_desktop() -> bool:
    """Return whether a person at a terminal expects a window: not through SSH or in a container."""
    if sys.platform in ("darwin", "win32"):
        return is_terminal()
    return is_terminal() and not os.environ.keys().isdisjoint(("DISPLAY", "WAYLAND_DISPLAY"))
