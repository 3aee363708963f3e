"""Saving a training so that it can be continued, and continuing it, bit for bit on the same backend."""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xpnet import checkpoint
from xpnet.checkpoint_folder import Checkpoint, candidates, newest_whole
from xpnet.datasets import Dataset
from xpnet.distributed.group import ALONE, Group
from xpnet.errors import fitted
from xpnet.optim import OPTIMIZERS, Optimizer
from xpnet.packing import Tensors, pack
from xpnet.random import Stream
from xpnet.run import Run, load
from xpnet.schedules import SCHEDULES
from xpnet.sealed import CHECKPOINT, DamagedError, damaged
from xpnet.settings import described, differences, fingerprint
from xpnet.trainer import Trainer

Path = str | os.PathLike[str]
_Found = tuple[pathlib.Path, dict[str, Any], Run]


class Resumable:
    """A training with its checkpoints.

    A checkpoint has, besides the model: the states of optimizer, layers, streams and callbacks; the epoch;
    the settings; and what identifies the data.

    Parameters
    ----------
    run : Run
        Before its first epoch.
    callbacks : list
        Those with methods `state` and `restore` are continued; by their class, in order.
    checkpoints : list of Checkpoint
    settings : dict
        What must be the same in a training that continues.
    data : dict of Dataset or None
    order : Stream
        Of the order of the samples.
    group : Group
        Rank 0 finds the checkpoint, and all continue from it.

    Attributes
    ----------
    done : int
        How many epochs the training has had.
    """

    def __init__(
        self,
        run: Run,
        *,
        callbacks: list[Any],
        checkpoints: list[Checkpoint],
        settings: dict[str, Any],
        data: dict[str, Dataset | None],
        order: Stream,
        group: Group = ALONE,
    ) -> None:
        self.done = 0
        self._group = group
        self._run = run
        self._callbacks = callbacks
        self._checkpoints = checkpoints
        self._settings = settings
        self._data = data
        self._order = order
        self._trainer: Trainer | None = None
        self._found: dict[str, Any] | None = None  # what a checkpoint says
        self._unsaved: dict[Checkpoint, tuple[Run, tuple[Any, Tensors]]] = {}

    @contextlib.contextmanager
    def begun(self, resume: Path | bool | None, epochs: int) -> Iterator[None]:
        """Return a context for the training, which continues from `resume` if that has a checkpoint.

        When it ends, also by an exception, the last complete epoch is saved, and the callbacks' `end` called.
        """
        if self._checkpoints or resume:
            self._settings = {name: described(value) for name, value in self._settings.items()}
            self._identified = {name: fingerprint(value) for name, value in self._data.items()}
        with self._group.together():
            found = None if self._group.rank else self._find(resume)
        path = self._resume(found, epochs)
        with contextlib.ExitStack() as ends:
            with self._group.together():
                for folder in self._checkpoints:
                    folder.begin(self._run, path)
                for callback in self._callbacks:
                    if hasattr(callback, "begin"):
                        callback.begin(self._run)
                    if hasattr(callback, "end"):
                        ends.callback(callback.end, self._run)
                self._restore_callbacks()
            try:
                yield
            except BaseException as e:
                self._save_last(e)
                raise
            self._save_last(None)

    @property
    def is_over(self) -> bool:
        """Whether a callback, as the checkpoint has it, has ended the training."""
        return self.done > 0 and any(getattr(callback, "stopped", False) for callback in self._callbacks)

    def attach(self, trainer: Trainer) -> None:
        """Save the states of this trainer from here on; it continues where the checkpoint was."""
        self._trainer = trainer
        if self._found is not None:
            trainer.restore(self._found["trainer"])
            self._found = None

    def epoch_done(self) -> None:
        """Record an epoch, after its callbacks, and save it if it is due."""
        self.done = len(self._run.history)
        if not self._checkpoints:
            return
        # Copies, because an interrupted epoch leaves arrays of the optimizer half changed.
        snapshot = copy.copy(self._run), pack(self._run.xp, self._state(), checkpoint.TRAINING)
        for folder in self._checkpoints:
            self._unsaved[folder] = snapshot
            if self.done % folder.every == 0:
                self._write(folder)

    def _write(self, folder: Checkpoint) -> None:
        try:
            folder.write(*self._unsaved[folder])
        except OSError:
            del self._unsaved[folder]  # It would fail again.
            raise
        del self._unsaved[folder]

    def _save_last(self, error: BaseException | None) -> None:
        """Save the last complete epoch unless it is saved; the `error` that ends training gets a note."""
        for folder in list(self._unsaved):
            try:
                self._write(folder)
            except OSError as e:
                if error is None:
                    raise
                error.add_note(f"the last complete epoch was not saved: {e}")

    def _state(self) -> dict[str, Any]:
        assert self._trainer is not None
        return {
            "epoch": self.done,
            "position": 0,  # in the epoch: a training is saved only between epochs
            "backend": self._run.xp.name,
            "settings": self._settings,
            "data": self._identified,
            "params": list(self._run.params),
            "trainer": self._trainer.state(),
            "shuffle": self._order.state(),
            "optimizer": described(self._run.optimizer),
            "callbacks": [[_name(c), c.state()] for c in self._callbacks if _has_state(c)],
        }

    def _find(self, resume: Path | bool | None) -> _Found | None:
        """Return the newest checkpoint of a folder, or that file; None if there is none."""
        if resume is None or resume is False:
            return None
        place = self._place(resume)
        if place.suffix == ".safetensors" and not place.is_dir():
            return place, *self._read(place)
        found, path, skipped = newest_whole(place, self._read)
        for line in skipped:
            warnings.warn(f"skipped a checkpoint: {line}", stacklevel=6)
        return None if path is None else (path, *found)

    def _resume(self, found: _Found | None, epochs: int) -> pathlib.Path | None:
        """Continue from the checkpoint that rank 0 has found, and return its path; None if there is none."""
        own = None
        if found is not None:
            own = found[0], found[0].read_bytes() if self._group.is_split else b""
        path, content = self._group.broadcast(own) or (None, b"")
        if path is None:
            return None
        with self._group.together():
            if found is None:
                # A copy, because another machine may not have the file.
                with tempfile.TemporaryDirectory() as folder:
                    copied = pathlib.Path(folder, "checkpoint.safetensors")
                    copied.write_bytes(content)
                    found = path, *self._read(copied)
            self._take(*found, epochs)
        return path

    def _place(self, resume: Path | bool) -> pathlib.Path:
        if resume is not True:
            return pathlib.Path(os.fspath(resume))  # type: ignore[arg-type]
        if not self._checkpoints:
            raise TypeError(
                "`resume=True` continues from the folder of a `Checkpoint`, but there is none; "
                "pass `checkpoint=xpnet.Checkpoint(folder)`, or `resume=folder`"
            )
        return self._checkpoints[0].folder

    def _read(self, path: pathlib.Path) -> tuple[dict[str, Any], Run]:
        """Return what a checkpoint says and its run, or raise unless it is of this training."""
        xp = self._run.xp
        found = checkpoint.load_training(path, lambda x: xp.asarray(x, copy=True))
        try:
            there = found["settings"] | found["data"]
        except (KeyError, TypeError) as e:
            raise damaged(path, f"it says nothing of {e}", CHECKPOINT) from e
        different = [*differences(there, self._settings | self._identified, "")]
        if different:
            template = "cannot resume from {path}: {different}; pass the same, or choose another folder"
            raise ValueError(fitted(template, different=", ".join(different), path=repr(str(path))))
        try:
            return found, load(path, xp, model=self._run.model)
        except ValueError as e:
            raise DamagedError(str(e)) from e

    def _take(self, path: pathlib.Path, state: dict[str, Any], saved: Run, epochs: int) -> None:
        """Continue from a checkpoint."""
        run, self.done = self._run, state["epoch"]
        if epochs < self.done:
            raise ValueError(
                f"`epochs` is {epochs}, but the training in {str(path)!r} has had {self.done}; `epochs` "
                f"counts from the first one on: pass at least {self.done}"
            )
        try:
            self._order.restore(state["shuffle"])
            run.optimizer = _rebuilt(run.optimizer, state["optimizer"])
        except (KeyError, TypeError, ValueError) as e:
            template = "cannot resume from {path}: {e}"
            raise ValueError(fitted(template, e=e, path=repr(str(path)))) from e
        # In their old order, because a backend may store them side by side, and round by the place.
        run.params = {name: saved.params[name] for name in state["params"]}
        run.history, run.initial_sha256 = saved.history, saved.initial_sha256
        run.resumed = f"epoch {self.done} ({path})"
        self._found = state

    def _restore_callbacks(self) -> None:
        """Give callbacks the states of those of the same class."""
        if self._found is None:
            return
        states = list(self._found["callbacks"])
        for callback in filter(_has_state, self._callbacks):
            same = [saved for saved in states if saved[0] == _name(callback)]
            if same:
                states.remove(same[0])
                callback.restore(same[0][1])


def find_checkpoints(
    callbacks: Iterable[Any], given: Checkpoint | Path | None
) -> tuple[list[Any], list[Checkpoint]]:
    """Return callbacks without their checkpoints, and these with the one that was `given`."""
    found = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    others = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
    if given is None:
        return others, found
    if isinstance(given, str | os.PathLike):
        given = Checkpoint(given)
    if not isinstance(given, Checkpoint):
        raise TypeError(
            f"`checkpoint` must be a Checkpoint or a folder, got {given!r}; pass for example "
            "`xpnet.Checkpoint('checkpoints', every=5)`"
        )
    return others, [given, *found]


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder has a checkpoint, whole or not."""
    return bool(candidates(pathlib.Path(folder)))


def _has_state(callback: Any) -> bool:
    return hasattr(callback, "state") and hasattr(callback, "restore")


def _name(callback: Any) -> str:
    return type(callback).__name__


def _rebuilt(optimizer: Optimizer, description: Any) -> Any:
    """Return the optimizer of a checkpoint, which a callback may have changed from the given one."""
    if described(optimizer) == description:
        return optimizer
    known: list[Any] = [*OPTIMIZERS.values(), *SCHEDULES.values(), type(optimizer)]
    schedule = type(getattr(optimizer, "lr", None))
    kinds = {kind.__name__: kind for kind in [*known, schedule]}
    return _built(kinds, description)


def _built(kinds: dict[str, Callable[..., Any]], description: Any) -> Any:
    """Return the object that a description stands for."""
    if isinstance(description, list):
        return [_built(kinds, item) for item in description]
    if not isinstance(description, dict):
        return description
    kind = description["kind"]
    if kind not in kinds:
        raise ValueError(f"a callback set a {kind!r} as optimizer or schedule, which is not from xpnet")
    fields = {name: _built(kinds, value) for name, value in description.items() if name != "kind"}
    return kinds[kind](**fields)
