"""Training on data that arrive in parts, of which none is kept."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from xpnet.datasets import Dataset
from xpnet.epochs import train_epoch
from xpnet.memory import watched
from xpnet.models import copy_params
from xpnet.problem import Problem, check_fit, images_for
from xpnet.random import Stream
from xpnet.run import Run
from xpnet.trainer import Trainer


class Online:
    """A training that takes one pass over each data set that it is given.

    The state of the optimizer, the numbers of the steps and the random orders continue from one data set to
    the next. It can be copied and pickled; a copy continues from the same point, independently.

    Parameters
    ----------
    run : Run
        What to begin with: its parameters and its optimizer.
    problem : Problem
    batch_size, seed : int

    Attributes
    ----------
    run : Run
        After the last data set; later ones do not change it.
    """

    def __init__(self, run: Run, problem: Problem, *, batch_size: int, seed: int) -> None:
        self.run = run
        self._problem = problem
        self._batch_size = batch_size
        self._seed = seed
        self._order = Stream(seed, "shuffle")
        self._trainer: Trainer | None = None
        self._state: dict[str, Any] | None = None  # of the trainer, before its first data set

    # NumPy warns of overflow when training diverges; the error that follows says what to do.
    @np.errstate(over="ignore", invalid="ignore", under="ignore")
    def __call__(self, train: Dataset) -> Run:
        """Return the run after one pass over these samples, in a random order.

        Raises
        ------
        ValueError, TypeError
            If the data set does not fit the model.
        TrainingDivergedError
            If the mean loss, or a parameter, is not finite; the run and the state are then as before.
        """
        problem, xp = self._problem, self.run.xp
        check_fit("train", train, problem.model, problem.loss)
        image = images_for(problem.model, train).shape[1:]
        run, order = copy.copy(self.run), copy.copy(self._order)
        # To go back to if training diverges. It costs a copy of the optimizer's arrays for each data set: two
        # of the size of the parameters with Adam.
        self._state = self._saved()
        with watched(xp, problem.model, dtype=problem.dtype, batch_size=self._batch_size, image=image):
            trainer = self._ready(train)
            self._trainer = None  # If it is interrupted, it cannot be used again.
            train_epoch(run, trainer, {}, order.permutation(len(train)), lambda steps: None)
        self.run, self._trainer, self._order = run, trainer, order
        return run

    def _ready(self, train: Dataset) -> Trainer:
        """Return the trainer with this data set on the device."""
        if self._trainer is not None:
            self._trainer.put(train)
            return self._trainer
        run = self.run
        trainer = Trainer(
            run.xp,
            self._problem,
            copy_params(run.xp, run.params),
            train,
            optimizer=run.optimizer,
            batch_size=self._batch_size,
            seed=self._seed,
        )
        if self._state is not None:
            trainer.restore(copy.deepcopy(self._state))
        return trainer

    def _saved(self) -> dict[str, Any] | None:
        """Return a copy of the state of the trainer; None before its first step."""
        return self._state if self._trainer is None else copy.deepcopy(self._trainer.state())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_trainer": None, "_state": self._saved(), "_order": copy.copy(self._order)}
