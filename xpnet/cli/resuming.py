"""The options of ``xpnet train`` that save checkpoints and continue from them."""

from __future__ import annotations

import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import click

from xpnet.checkpoint_folder import Checkpoint
from xpnet.cli.options import COUNT, Command
from xpnet.cli.ranks import is_silent
from xpnet.errors import shortened
from xpnet.resuming import has_checkpoint
from xpnet.run import Run

_KEEP = 3


def checkpoint_options(command: Command) -> Command:
    """Add ``--checkpoint``, ``--every``, ``--keep`` and ``--resume``."""
    options = [
        click.option(
            "--checkpoint",
            metavar="DIR",
            type=click.Path(path_type=pathlib.Path),
            help="Save the training in this folder while it runs, so that it can be resumed after a crash or "
            "Ctrl-C. Each file is also a model for evaluate and predict; best.safetensors is the best one.",
        ),
        click.option(
            "--every", type=COUNT, metavar="N", help="Save after every N epochs and the last. [default: 1]"
        ),
        click.option(
            "--keep", type=COUNT, metavar="N", help=f"Keep the last N checkpoints. [default: {_KEEP}]"
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue from the newest whole checkpoint, with the same options; --epochs may grow. "
            "Begin anew if there is none.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


class Saving:
    """Says from where a training continues, and where it was saved if it was stopped; a callback of `fit`.

    Attributes
    ----------
    checkpoint : Checkpoint or None
    resume : bool
    """

    def __init__(self, config: dict[str, Any], say: Callable[[str], object]) -> None:
        """Take the options of `checkpoint_options` out of `config`."""
        folder, every, keep, self.resume = (
            config.pop(name) for name in ("checkpoint", "every", "keep", "resume")
        )
        self.checkpoint = None
        self._say = say
        if folder is None:
            _check_unused(every=every, keep=keep, resume=self.resume or None)
            return
        if has_checkpoint(folder) and not self.resume and not is_silent():
            raise click.UsageError(
                f"{shortened(repr(str(folder)), 100)} has checkpoints already; pass `--resume` to continue "
                "that training, or choose another folder"
            )
        self.checkpoint = Checkpoint(folder, every=every or 1, keep=keep or _KEEP)
        click.get_current_context().with_resource(warnings.catch_warnings())
        warnings.showwarning = _show  # type: ignore[assignment]

    def begin(self, run: Run) -> None:
        """Say from where the training continues."""
        if run.resumed:
            self._say(f"resumed from {run.resumed}")

    def __call__(self, run: Run) -> None:
        """Do nothing after an epoch."""

    def end(self, run: Run) -> None:
        """Say where the training was saved, if an exception ends it."""
        if self.checkpoint is not None and self.checkpoint.path is not None and sys.exc_info()[0] is not None:
            self._say(f"saved {self.checkpoint.path}; `--resume` continues from there")


def _check_unused(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(
                f"`--{name}` needs a folder of checkpoints: name it with `--checkpoint DIR`"
            )


def _show(message: Warning | str, *_: Any) -> None:
    click.echo(f"note: {message}", err=True)
