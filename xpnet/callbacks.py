"""Callbacks for `fit`: what it calls with the run after every epoch.

A callback is any callable; training ends if it returns a true value. If it has them, ``begin(run)`` is called
before the first epoch and ``end(run)`` after the last one, also if an exception ends the training. One with
``state()`` and ``restore(state)`` is continued from checkpoints; `state` returns dicts, tuples and lists of
arrays and numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from xpnet.checks import count, finite, nonnegative, positive
from xpnet.layer import Params
from xpnet.monitoring import Monitor
from xpnet.run import Epoch, Run


@dataclasses.dataclass(eq=False)
class _Best:
    """The best epoch so far, with its parameters if they are wanted."""

    monitor: Monitor
    min_delta: float = 0.0
    value: float | None = None
    epoch: int = 0
    waited: int = 0  # epochs since it became better, or since someone lost patience
    params: Params | None = None

    def see(self, run: Run) -> None:
        """Compare the last epoch of a run."""
        last: Epoch = run.history[-1]
        if self.monitor.is_better(last, self.value, min_delta=self.min_delta):
            self.value, self.epoch, self.waited = self.monitor.of(last), last.epoch, 0
            self.params = dict(run.params)
        else:
            self.waited += 1

    def state(self, *, params: bool) -> dict[str, Any]:
        found = {"value": self.value, "epoch": self.epoch, "waited": self.waited}
        return found | {"params": self.params} if params else found

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class EarlyStopping:
    """Ends a training that no longer becomes better.

    Parameters
    ----------
    patience : int
        After how many epochs in a row that are not better.
    monitor : str, optional
        The name of a number of the history, such as ``"validation_accuracy"``. Less is better of a loss, more
        of an accuracy. If omitted, the loss on the validation set, else on the test set, else in training.
    min_delta : float
        An epoch is better only by more than this.
    restore_best : bool
        Whether the run has the parameters of the best epoch at the end, stopped early or not.

    Attributes
    ----------
    epoch : int
        The best one so far; 0 before the first.
    best : float or None
        Its monitored number.
    stopped : bool
        Whether it has ended the training. A training that is resumed then ends at once.
    """

    def __init__(
        self,
        patience: int,
        *,
        monitor: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.patience = count("patience", patience)
        self.min_delta = nonnegative("min_delta", min_delta)
        self.restore_best = restore_best
        self._best = _Best(Monitor(monitor), self.min_delta)

    def __repr__(self) -> str:
        monitor = f", monitor={self._best.monitor.name!r}" if self._best.monitor.name else ""
        return f"EarlyStopping({self.patience}{monitor})"

    @property
    def epoch(self) -> int:
        """The best epoch so far."""
        return self._best.epoch

    @property
    def best(self) -> float | None:
        """Its monitored number."""
        return self._best.value

    @property
    def stopped(self) -> bool:
        """Whether it has ended the training."""
        return self._best.waited >= self.patience

    def begin(self, run: Run) -> None:
        """Forget an earlier training."""
        self._best = _Best(self._best.monitor, self.min_delta)

    def __call__(self, run: Run) -> bool:
        """Return whether to end the training."""
        self._best.see(run)
        return self.stopped

    def end(self, run: Run) -> None:
        """Give the run its best parameters, if they are wanted."""
        if self.restore_best and self._best.params is not None:
            run.params = self._best.params

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return self._best.state(params=self.restore_best)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._best.restore(state)


class KeepBest:
    """Gives the run the parameters of its best epoch at the end of training.

    Parameters
    ----------
    monitor : str, optional
        See `EarlyStopping`.

    Attributes
    ----------
    epoch : int
        The best one so far; 0 before the first.
    best : float or None
        Its monitored number.
    """

    def __init__(self, monitor: str | None = None) -> None:
        self._best = _Best(Monitor(monitor))

    def __repr__(self) -> str:
        return f"KeepBest({self._best.monitor.name!r})" if self._best.monitor.name else "KeepBest()"

    @property
    def epoch(self) -> int:
        """The best epoch so far."""
        return self._best.epoch

    @property
    def best(self) -> float | None:
        """Its monitored number."""
        return self._best.value

    def begin(self, run: Run) -> None:
        """Forget an earlier training."""
        self._best = _Best(self._best.monitor)

    def __call__(self, run: Run) -> None:
        """Keep the parameters if they are the best."""
        self._best.see(run)

    def end(self, run: Run) -> None:
        """Give the run its best parameters."""
        if self._best.params is not None:
            run.params = self._best.params

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return self._best.state(params=True)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._best.restore(state)


class ReduceOnPlateau:
    """Multiplies the learning rate by a factor when a training no longer becomes better.

    Parameters
    ----------
    patience : int
        After how many epochs in a row that are not better; then the count begins again.
    factor : float
        Above 0 and below 1. A schedule is multiplied as a whole.
    min_lr : float
        A constant rate does not become less.
    monitor : str, optional
        See `EarlyStopping`.
    """

    def __init__(
        self, patience: int, factor: float = 0.1, min_lr: float = 0.0, *, monitor: str | None = None
    ) -> None:
        self.patience = count("patience", patience)
        self.factor, self.min_lr = positive("factor", factor), nonnegative("min_lr", min_lr)
        if self.factor >= 1:
            raise ValueError(f"`factor` must be below 1, got {factor!r}, so that the rate becomes less")
        self._best = _Best(Monitor(monitor))

    def __repr__(self) -> str:
        return f"ReduceOnPlateau({self.patience}, {self.factor:g}, {self.min_lr:g})"

    def begin(self, run: Run) -> None:
        """Forget an earlier training."""
        self._best = _Best(self._best.monitor)

    def __call__(self, run: Run) -> None:
        """Set the rate of the run if its patience is at an end."""
        self._best.see(run)
        if self._best.waited < self.patience:
            return
        self._best.waited = 0
        lr = run.lr * self.factor
        if isinstance(lr, int | float):
            # A rate must stay above 0, and one that is below the least already stays.
            lr = min(run.lr, max(finite("lr", lr), self.min_lr))
        if lr != run.lr:
            run.lr = lr

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs; the rate is the optimizer's."""
        return self._best.state(params=False)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._best.restore(state)
