"""Training, one epoch at a time; `fit` adds checks, tests and the history."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet.batches import spans
from xpnet.datasets import Dataset
from xpnet.folding import Rows, length_of, rows_from
from xpnet.layer import Params, in_training
from xpnet.layers import DRAWING, LAYERS
from xpnet.models import Residual, Sequential
from xpnet.namespace import Namespace
from xpnet.optim import Optimizer, State
from xpnet.pace import Pace
from xpnet.problem import Problem
from xpnet.random import Stream
from xpnet.registry import is_plain_data
from xpnet.replay.captured import Captured
from xpnet.replay.foreign import checked_at_first, compile_step
from xpnet.replay.tree import is_array, leaves, rebuilt
from xpnet.rules import continued
from xpnet.targets import accumulated

Array = Any

# A backend may record the first step of a size, test its program in the second and finish in the third.
REHEARSALS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Begin:
    """What an epoch begins with, which later steps do not change: see `Trainer.begin`."""

    params: Params
    state: State
    next_step: int | None
    dropout: dict[str, Any]


class Trainer:
    """A model in training, with its data on the device. Arguments are trusted: `fit` checks them.

    Parameters
    ----------
    xp : Namespace
    problem : Problem
    params : dict of arrays of `xp`
        They may be overwritten.
    train : Dataset
    optimizer : Optimizer
    batch_size, seed : int
    initial : dict of arrays of `xp`, optional
        What the training began with; if omitted, `params`.

    Attributes
    ----------
    params : dict of arrays of `xp`
        After the last step, with the state of layers; the next one may overwrite them, see `snapshot`.
    compiled : callable
        The step, as `xpnet.replay.foreign.compile_step` returned it.
    pace : Pace
        How many steps an epoch takes at a time.
    """

    def __init__(
        self,
        xp: Namespace,
        problem: Problem,
        params: Params,
        train: Dataset,
        *,
        optimizer: Optimizer,
        batch_size: int,
        seed: int,
        initial: Params | None = None,
    ) -> None:
        self.xp = xp
        self.params = params
        self._initial = initial
        self._problem = problem
        self._trunk = problem.loss.trunk(problem.model)
        self._has_state = bool(problem.model.state_shapes)
        self._state = optimizer.init(xp, self._trained(params))
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._dropout = Stream(seed, "dropout")
        self.pace = Pace()
        # Only dropout masks need the number of a step; a loop of compiled steps is faster without it.
        self._next_step = 1 if _may_draw(self._trunk) else None
        self._epochs = 0  # with this optimizer
        self._kept: list[Array] = []  # other arrays that steps carry
        self.put(train)
        self.compiled = checked_at_first(xp, compile_step(xp, self._step))

    @property
    def batch_size(self) -> int:
        """The number of samples of a batch; the last one of an epoch may have fewer."""
        return self._batch_size

    @property
    def samples(self) -> int:
        """The number of samples of an epoch."""
        return self._samples

    @property
    def total_weight(self) -> float:
        """The number of samples, or the sum of their weights: what a sum of losses is divided by."""
        return self._targets.total_weight

    @property
    def lr(self) -> float | None:
        """The learning rate of the last step, or of the first one; None if the optimizer has none."""
        lr = getattr(self._optimizer, "lr", None)
        if callable(lr):
            lr = lr(max(1, self._state.get("step", 1)))
        return float(lr) if isinstance(lr, int | float) else None

    @property
    def report(self) -> str:
        """Why the step is not sped up; empty if it is, or if the backend does not compile steps."""
        return getattr(self.compiled, "report", "")

    def put(self, train: Dataset) -> None:
        """Replace the training set on the device; later changes of the data set have no effect."""
        self._samples = len(train)
        self._images, self._targets = self._problem.on_device(self.xp, train, name="train", keep=True)

    def epoch(self, order: np.ndarray, advance: Callable[[int], object] = lambda steps: None) -> Array:
        """Train over the images in this order and return the sum of their losses, shape (), on the device.

        Parameters
        ----------
        order : NumPy array, shape (n,), int32
        advance : callable, optional
            Called with a number of steps after so many.
        """
        xp = self.xp
        self._epochs += 1
        total = xp.zeros((), dtype=self._images.dtype)
        carry: Any = self.params, self._state, total, self._next_step, *self._kept
        for rows, constants in self._runs(order):
            for begin, end in self.pace.chunks(length_of(rows)):
                carry = xp.scan(self.compiled, carry, rows_from(rows, begin, end), *constants)
                advance(end - begin)
        self.params, self._state, total, self._next_step, *self._kept = carry
        return total

    def _runs(self, order: np.ndarray) -> Iterator[tuple[Rows, tuple[Any, ...]]]:
        """Yield rows and constants of steps: of full batches, then of the rest. See `Namespace.scan`."""
        indices, full = self.xp.asarray(order), len(order) // self._batch_size * self._batch_size
        for begin, end, size in ((0, full, self._batch_size), (full, len(order), len(order) - full)):
            if begin < end:
                rows = self.xp.reshape(indices[begin:end], (-1, size))
                yield rows, (self._images.images, self._targets.arrays)

    def _rehearsed(self, size: int, times: int) -> tuple[Rows, tuple[Any, ...]]:
        """Return rows and constants of so many steps, each with the first samples, `size` of them."""
        rows = self.xp.asarray(np.tile(np.arange(size, dtype=np.int32), (times, 1)))
        return rows, (self._images.images, self._targets.arrays)

    def snapshot(self) -> Params:
        """Return copies of the parameters, which later steps do not change."""
        return {name: self.xp.asarray(p, copy=True) for name, p in self.params.items()}

    def begin(self, params: Params) -> Begin:
        """Return what the next epoch begins with, given a `snapshot`, so that it can be taken again."""
        return Begin(params, _copied(self.xp, self._state), self._next_step, self._dropout.state())

    def as_written(
        self, begin: Begin, change: Callable[[Sequential], Any]
    ) -> Callable[[np.ndarray], tuple[Params, Array]]:
        """Return a function that takes the steps of an epoch once more, one for each call.

        It is given the rows of a batch, and returns the parameters after the step and the loss, by weight.
        The model is replaced by what `change` returns, and nothing is compiled.
        """
        xp, twin = self.xp, copy.copy(self)
        twin._trunk = change(self._trunk)
        twin._dropout.restore(begin.dropout)
        carry: Any = _copied(xp, begin.params), _copied(xp, begin.state), begin.next_step

        def step(rows: np.ndarray) -> tuple[Params, Array]:
            nonlocal carry
            params, state, number = carry
            total = xp.zeros((), dtype=self._images.dtype)
            batch = xp.asarray(rows), self._images.images, self._targets.arrays
            params, state, total, number = twin._step(xp, params, state, total, number, *batch)
            carry = params, state, number
            return params, total

        return step

    def alone(self) -> Trainer:
        """Return a trainer that takes the steps of the training without other processes: this one."""
        return self

    def largest_input(self) -> float:
        """Return the largest magnitude that enters the model, or 0 if its first layer scales inputs."""
        if hasattr(self._problem.model.layers[0], "adapt"):
            return 0.0
        images = self._images
        if images.images.dtype == self.xp.uint8:
            return max(map(abs, images.scaling.ends))
        return float(self.xp.to_host(self.xp.max(self.xp.abs(images.images))))

    def use(self, optimizer: Optimizer) -> Optimizer:
        """Take the next steps with this optimizer, and return it."""
        if optimizer != self._optimizer:
            self._replace(optimizer)
        return optimizer

    def _replace(self, optimizer: Optimizer) -> None:
        """Let an optimizer continue from the state of the old one."""
        self._optimizer, self._epochs = optimizer, 0
        self._state = continued(self.xp, optimizer, self._trained(self.params), self._state)
        # What was recorded has the numbers of the old one.
        self.compiled = checked_at_first(self.xp, compile_step(self.xp, self._step))
        self.rehearse()

    def state(self) -> dict[str, Any]:
        """Return what training needs to continue besides `params`; the next step may overwrite its arrays."""
        return {
            "optimizer": self._state,
            "next_step": self._next_step,
            "dropout": self._dropout.state(),
            "epochs": self._epochs,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the `state` of another trainer with the same arguments.

        Its arrays may be overwritten. `rehearse` then makes the next steps bit for bit those of the other.
        """
        self._state, self._next_step = state["optimizer"], state["next_step"]
        self._dropout.restore(state["dropout"])
        self._epochs = state["epochs"]

    def rehearse(self) -> None:
        """Take steps of each size on copies, so that everything is compiled.

        If layers, the loss or the optimizer are neither from `xpnet` nor of a class that is registered and
        frozen, extra calls might change their state: take only as many as there were, because a program need
        not round as the calls before it do.

        They begin as the training did, at any time: whether a backend trusts a program depends on the numbers
        that it is tried with, and a training that is continued must come to the same result.
        """
        xp = self.xp
        own = Captured(xp, self._step, is_plain=is_plain_data).own
        if not own and not self._epochs:
            return
        begin = self.params if self._initial is None else self._initial
        params = {name: xp.asarray(p, copy=True) for name, p in begin.items()}
        state = self._optimizer.init(xp, self._trained(params))
        total = xp.zeros((), dtype=self._images.dtype)
        carry = params, state, total, None if self._next_step is None else 1, *map(xp.zeros_like, self._kept)
        drawn = self._dropout.state()  # a layer of a user may draw on the host
        sizes = Counter(end - begin for begin, end in spans(self._samples, self._batch_size))
        for size, steps in sorted(sizes.items(), reverse=True):
            times = REHEARSALS if own else min(REHEARSALS, steps * self._epochs)
            rows, constants = self._rehearsed(size, times)
            carry = xp.scan(self.compiled, carry, rows, *constants)
        self._dropout.restore(drawn)
        xp.synchronize()

    def close(self) -> None:
        """Drop the compiled step with what it holds, and the parameters, which may share its memory."""
        del self.compiled, self.params, self._state, self._initial

    def _step(
        self,
        xp: Namespace,
        params: Params,
        state: State,
        total: Array,
        step: int | None,
        indices: Array,
        images: Array,
        targets: tuple[Array, ...],
    ) -> tuple[Params, State, Array, int | None]:
        """Take one training step; all that changes is an argument, and nothing is read back to the host."""
        stream = None if step is None else self._dropout.at(step)
        x, wanted, weights = self._batch(xp, images, targets, indices)
        outputs, pullback, layer_state = in_training(self._trunk, xp, params, x, stream=stream)
        loss, d_outputs = self._problem.loss.value(xp, outputs, wanted, weights)
        _, grads = pullback(d_outputs, input_gradient=False)
        params, state = self._stepped(xp, params, layer_state, grads, state)
        total = accumulated(xp, total, loss, weights, indices.shape[0])
        return params, state, total, None if step is None else step + 1

    def _batch(
        self, xp: Namespace, images: Array, targets: tuple[Array, ...], indices: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return the inputs, the targets and the weights of a batch."""
        x = self._images.gather_from(xp, images, indices)
        return x, *self._targets.gather_from(xp, targets, indices)

    def _stepped(
        self, xp: Namespace, params: Params, layer_state: Params, grads: Params, state: State
    ) -> tuple[Params, State]:
        """Return the parameters, with the state of layers, and the optimizer's state after its step."""
        trained, state = self._optimizer(xp, self._trained(params), grads, state)
        # In the same order as before, so that one program takes all steps.
        return {name: (trained | layer_state)[name] for name in params} if layer_state else trained, state

    def _trained(self, params: Params) -> Params:
        """Return the parameters without the state of layers."""
        if not self._has_state:
            return params
        return {name: params[name] for name in self._problem.model.shapes}


def _copied(xp: Namespace, tree: Any) -> Any:
    """Return dicts and tuples with copies of their arrays."""
    found = (xp.asarray(x, copy=True) if is_array(x) else x for x in leaves(tree))
    return rebuilt(tree, found)


def _may_draw(layer: Any) -> bool:
    """Return whether a layer may draw random numbers in training.

    `DRAWING` do, and a user's layers may, except registered ones that have ``draws = False``.
    """
    kind = type(layer)
    if kind in (Sequential, Residual):
        return any(map(_may_draw, layer.layers))
    if is_plain_data(kind) and not getattr(layer, "draws", True):
        return False
    return kind in DRAWING or kind not in LAYERS.values()
