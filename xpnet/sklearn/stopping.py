"""When a training of an estimator ends."""

from __future__ import annotations

import math

from xpnet.run import Run


class Stopping:
    """Ends a training as scikit-learn's networks do.

    That is after `patience` epochs in a row of which none had a loss below the least one so far less `tol`.
    `xpnet.EarlyStopping` compares with the last epoch that was better by `min_delta`, and so goes on longer
    while the loss becomes slowly less.
    """

    def __init__(self, patience: int, tol: float, monitor: str) -> None:
        self._patience, self._tol, self._monitor = patience, tol, monitor
        self._least, self._waited = math.inf, 0

    @property
    def stopped(self) -> bool:
        """Whether it has ended the training."""
        return self._waited >= self._patience

    def __call__(self, run: Run) -> bool:
        """Return whether to end the training."""
        loss = getattr(run.history[-1], self._monitor)
        self._waited = 0 if loss < self._least - self._tol else self._waited + 1
        self._least = min(self._least, loss)
        return self.stopped
