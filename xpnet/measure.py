"""Outputs, losses and predicted classes of a model on a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpnet.batches import spans
from xpnet.datasets import Dataset
from xpnet.layer import Params
from xpnet.loss import VALUES
from xpnet.namespace import Namespace
from xpnet.problem import Problem
from xpnet.replay.foreign import compile_step
from xpnet.targets import accumulated

Array = Any

# A batch of 784 float32 features stays in a processor's cache, and is large enough to hide the cost of calls.
BATCH_SIZE = 1000
# A step is replayed from its third call on.
_FEW = 2


class Measure:
    """The loss and the predictions of a model on a data set, which stays on the device.

    Parameters
    ----------
    xp : Namespace
    problem : Problem
    dataset : Dataset
    batch_size : int
    name : str
        The caller's name for the data set, for errors.
    keep : bool
        Whether later changes of the data set must have no effect.
    once : bool
        Whether it is called only once; recording a step for a few batches is then not worth it.
    scored : bool
        Whether to compute losses; without it, they are 0, and the targets can be anything.
    """

    def __init__(
        self,
        xp: Namespace,
        problem: Problem,
        dataset: Dataset,
        *,
        batch_size: int = BATCH_SIZE,
        name: str = "dataset",
        keep: bool = False,
        once: bool = False,
        scored: bool = True,
    ) -> None:
        self.batches, self.targets = problem.on_device(xp, dataset, name=name, keep=keep)
        self._xp = xp
        self._problem = problem
        self._scored = scored
        self._trunk = problem.loss.trunk(problem.model)
        self._batch_size = batch_size
        is_short = once and len(dataset) <= _FEW * batch_size
        self._compiled = self._step if is_short else compile_step(xp, self._step)

    def __call__(self, params: Params) -> tuple[Array, Array]:
        """Return the sum of the losses, shape (), and the predictions, see `Loss.predict`, on the device."""
        xp, loss, task = self._xp, self._problem.loss, self._problem.task
        found = [(loss.predict(xp, z, task), total) for z, total in self._copied(params)]
        return found[-1][1], xp.concat([predicted for predicted, _ in found])

    def _copied(self, params: Params) -> Iterator[tuple[Array, Array]]:
        """Yield what `outputs` yields; outputs that are predictions themselves are copied."""
        for z, total in self.outputs(params):
            yield (self._xp.asarray(z, copy=True) if self._problem.task == VALUES else z), total

    def rehearse(self, params: Params, epochs: int) -> None:
        """Do to the compiled step what so many calls would do: the next one then rounds as after them."""
        for _ in range(min(epochs, _FEW)):
            self(params)

    def outputs(self, params: Params) -> Iterator[tuple[Array, Array]]:
        """Yield the outputs for each batch, and the sum of the losses so far.

        The activation that the loss absorbs is left out. The next batch may overwrite the outputs.
        """
        xp = self._xp
        total = xp.zeros((), dtype=self.batches.dtype)
        for begin, end in spans(len(self.batches), self._batch_size):
            indices = xp.arange(begin, end, dtype=xp.int32)
            outputs, total = self._compiled(
                xp, params, total, self.batches.images, self.targets.arrays, indices
            )
            yield outputs, total

    @property
    def report(self) -> str:
        """Why the step is not sped up; empty if it is, or if the backend does not compile steps."""
        return getattr(self._compiled, "report", "")

    def close(self) -> None:
        """Release what the compiled step holds on the device."""
        del self._compiled

    def _step(
        self,
        xp: Namespace,
        params: Params,
        total: Array,
        images: Array,
        targets: tuple[Array, ...],
        indices: Array,
    ) -> tuple[Array, Array]:
        outputs, _ = self._trunk(xp, params, self.batches.gather_from(xp, images, indices))
        if not self._scored:
            return outputs, total
        wanted, weights = self.targets.gather_from(xp, targets, indices)
        loss, _ = self._problem.loss.value(xp, outputs, wanted, weights)
        return outputs, accumulated(xp, total, loss, weights, indices.shape[0])
