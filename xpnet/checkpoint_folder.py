"""The folder with a training's checkpoints: which files are kept, and which is the best.

`xpnet.checkpoint` writes and reads one file; `xpnet.resuming` says what is in it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from xpnet import checkpoint, checks
from xpnet.files import check_writable, write_whole
from xpnet.monitoring import Monitor
from xpnet.packing import Tensors
from xpnet.partial import link, remove_stale
from xpnet.run import Run, load
from xpnet.sealed import DamagedError

BEST = "best.safetensors"
_NAME = re.compile(r"epoch-(\d+)\.safetensors")


class Checkpoint:
    """Saves a training while it runs, so that `fit` can continue it: ``fit(..., checkpoint=...)``.

    Each file, ``epoch-0004.safetensors``, has everything that is needed to continue, and is also a model that
    `xpnet.load` reads. It is written beside its place, synced and renamed, so a training that is killed at
    any instant leaves only whole files. ``best.safetensors`` is the best one so far; it stays when older ones
    are removed.

    Parameters
    ----------
    folder : str or path
        It is made if there is none.
    every : int
        Save after every so many epochs. The last complete epoch is always saved, even if an error or Ctrl-C
        ends the training.
    keep : int
        How many files to keep, besides the best one.
    monitor : str, optional
        Decides which is the best: the name of a number of the history, such as ``"validation_accuracy"``. If
        omitted, the loss on the validation set, else on the test set, else on the training set.

    Attributes
    ----------
    path : path or None
        The file that was written last.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 1,
        keep: int = 3,
        monitor: str | None = None,
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.every, self.keep = checks.count("every", every), checks.count("keep", keep)
        self.monitor = monitor
        self.path: pathlib.Path | None = None
        self._monitor = Monitor(monitor)
        self._best: float | None = None

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, every={self.every}, keep={self.keep})"

    def begin(self, run: Run, resumed: pathlib.Path | None) -> None:
        """Get ready for a training, which continues from the file `resumed`.

        Raises
        ------
        OSError
            If files cannot be written here.
        ValueError
            If the folder has checkpoints of another training.
        """
        make_folder(self.folder)
        found = candidates(self.folder)
        if found and (resumed is None or not resumed.parent.samefile(self.folder)):
            raise ValueError(
                f"{str(self.folder)!r} has checkpoints already, the newest of epoch {_number(found[0])}; "
                "pass `resume=True` to continue that training, or choose another folder"
            )
        check_writable(self._place(1))
        remove_stale(str(self.folder))
        self.path, self._best = resumed if found else None, self._value_of_best(run)
        if found and resumed is not None and resumed.name != BEST:
            self._mark(run, resumed)  # The training may have been killed before it did.

    def write(self, run: Run, training: tuple[Any, Tensors]) -> None:
        """Save a run, remove what is not kept, and mark the best.

        Raises
        ------
        OSError
            If a file cannot be written; the older ones are still there.
        """
        path = self._place(len(run.history))
        checkpoint.save(path, run.xp, run.model, run.params, run.about(), training=training, sync=True)
        self.path = path
        self._mark(run, path)
        older = [old for old in candidates(self.folder) if 0 < _number(old) < len(run.history)]
        for old in older[self.keep - 1 :]:
            with contextlib.suppress(OSError):
                old.unlink()

    def _place(self, epoch: int) -> pathlib.Path:
        return self.folder / f"epoch-{epoch:04}.safetensors"

    def _mark(self, run: Run, path: pathlib.Path) -> None:
        """Give a file its second name if its epoch is the best so far."""
        if not self._monitor.is_better(run.history[-1], self._best):
            return
        best = self.folder / BEST
        try:
            link(str(path), str(best))
        except OSError:  # The file system may have no links.
            write_whole(best, path.read_bytes(), sync=True)
        self._best = self._monitor.of(run.history[-1])

    def _value_of_best(self, run: Run) -> float | None:
        """Return the number of the best file; None if there is none that is whole."""
        with contextlib.suppress(OSError, ValueError):
            return self._monitor.of(load(self.folder / BEST, run.xp, model=run.model).history[-1])
        return None


def make_folder(folder: pathlib.Path) -> None:
    """Make a folder for checkpoints, unless it is there.

    Raises
    ------
    OSError
        If that fails; the message names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        reason = "it is a file" if folder.exists() else e.strerror or e
        raise type(e)(f"cannot make the folder {str(folder)!r}: {reason}; choose another place") from e


def candidates(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the checkpoints in a folder, the newest first; the best one, by its second name, is the last."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) or path.name == BEST]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=_number, reverse=True)


def newest_whole(
    folder: pathlib.Path, read: Callable[[pathlib.Path], Any]
) -> tuple[Any, pathlib.Path | None, list[str]]:
    """Return what `read` makes of the newest checkpoint that is whole, its path, and why others are not.

    Without any checkpoint, there is nothing to read: None and None.

    Raises
    ------
    ValueError
        If none is whole, or what `read` raises that is no `DamagedError`.
    """
    skipped: list[str] = []
    for path in candidates(folder):
        try:
            return read(path), path, skipped
        except (DamagedError, OSError) as e:
            skipped.append(str(e))
    if skipped:
        raise ValueError(
            f"no checkpoint in {str(folder)!r} is whole: {skipped[0]}; choose another folder to begin anew"
        )
    return None, None, []


def _number(path: pathlib.Path) -> int:
    """Return the epoch in the name of a checkpoint; 0 for the best one."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else 0
