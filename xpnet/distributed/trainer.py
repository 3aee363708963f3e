"""A training step of several processes: each takes its rows of a batch, and the gradients are summed."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet.batches import spans
from xpnet.datasets import Dataset
from xpnet.distributed.group import ALONE, Group
from xpnet.distributed.parts import Part
from xpnet.folding import Rows
from xpnet.layer import Params, in_training
from xpnet.namespace import Namespace
from xpnet.optim import Optimizer, State
from xpnet.problem import Problem
from xpnet.registry import is_plain_data
from xpnet.replay.captured import Captured
from xpnet.targets import accumulated
from xpnet.trainer import Trainer

Array = Any


class _Quiet:
    """A group whose sums are left out while `is_quiet`; everything else is the group's own."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.is_quiet = False

    def sum(self, x: np.ndarray) -> None:
        if not self.is_quiet:
            self._group.sum(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)


# Their first steps cannot be rehearsed, because that might change them, and ranks must decide before they
# train whether they replay a step.
_USER_DEFINED = (
    "in a group of processes, layers, losses and optimizers of your own run as written, unless their "
    "class is a frozen dataclass that `xpnet.register` knows"
)


# Kept, because they are the same in each epoch and take 5 % of a small step to make.
@functools.lru_cache(8)
def _parts_of_batches(samples: int, batch_size: int, rank: int, size: int) -> tuple[tuple[int, Part], ...]:
    return tuple((begin, Part.of(end - begin, rank, size)) for begin, end in spans(samples, batch_size))


class _AsWritten:
    """A step that no backend compiles, and why not."""

    def __init__(self, step: Callable[..., Any], report: str) -> None:
        self._step, self.report = step, report

    def __call__(self, *args: Any) -> Any:
        return self._step(*args)


class DistributedTrainer(Trainer):
    """A model in training by a group of processes, see `Trainer`.

    All ranks see the same batches in the same order, and hold the same parameters. The gradient of a batch is
    the sum over the ranks, each with its share of the batch, in one flat array and one call of
    `xp.nn.all_reduce`.

    Parameters
    ----------
    xp : Namespace
    problem : Problem
    params : dict of arrays of `xp`
    train : Dataset
        The whole training set, the same on all ranks.
    group : Group
    **options : Any
        Those of `Trainer`.

    Attributes
    ----------
    waited : list of float or None
        Seconds of each epoch that were spent in sums over the ranks; None if not known.
    """

    def __init__(
        self, xp: Namespace, problem: Problem, params: Params, train: Dataset, *, group: Group, **options: Any
    ) -> None:
        self._group = _Quiet(group)
        self.waited: list[float | None] = []
        self._alone = xp, problem, params, train, options
        weights = train.sample_weight
        self._total_weight = len(train) if weights is None else float(weights.sum())
        self._sent = _sent(self._group, options["optimizer"])
        grouped = xp.with_group(self._group)  # on GPUs, all ranks together
        with group.together():
            super().__init__(grouped, problem, params, train, **options)
            shapes = [p.shape for p in self._trained(params).values()]
            ends = [0, *itertools.accumulate(map(math.prod, shapes))]
            # Where the gradient of each parameter stands: how many numbers are before and after it.
            self._places = {
                name: {"before": begin, "after": ends[-1] - end}
                for name, (begin, end) in zip(self._trained(params), itertools.pairwise(ends), strict=True)
            }
            self._kept = [xp.zeros((ends[-1],), dtype=self._images.dtype)]

    @property
    def total_weight(self) -> float:
        """An equal share of the sum of the weights: over all ranks, they add up to it."""
        return self._total_weight / self._group.size

    def put(self, train: Dataset) -> None:
        """Hold a training set: all of it, or the rows that this rank rehearses with."""
        self._train = train
        self._samples = len(train)
        self._hold(self._own_rows(np.arange(len(train))) if self._group.holds_shares else slice(None))

    def alone(self) -> Trainer:
        """Return a trainer of whole batches, which needs no other rank."""
        xp, problem, params, train, options = self._alone
        return Trainer(xp, problem, params, train, **options)

    def rehearse(self) -> None:
        """Take steps as `Trainer.rehearse` does, each rank by itself: sums are left out.

        Ranks may have different numbers of programs to try, so they do not wait for each other in them. If
        one of them cannot replay the step, none does: on GPUs, all ranks must capture a sum in the same call.
        """
        own = Captured(self.xp, self._step, is_plain=is_plain_data).own
        if not all(self._group.gather(own)):
            self.compiled = _AsWritten(self._step, _USER_DEFINED)
            return
        with self._group.together():
            self._group.is_quiet = True
            try:
                if self._group.holds_shares:
                    self.put(self._train)  # as at the beginning, whatever rows the last epoch needed
                super().rehearse()
            finally:
                self._group.is_quiet = False
        reports = self._group.gather(self.report)
        first = next((rank for rank, report in enumerate(reports) if report), None)
        if first is not None:
            who = (
                f"rank {first} of {self._group.size} cannot replay the step, so none does: " if first else ""
            )
            self.compiled = _AsWritten(self._step, f"{who}{reports[first]}")

    def use(self, optimizer: Optimizer) -> Optimizer:
        """Take the next steps with the optimizer of rank 0, even if a callback has changed it in place.

        Raises
        ------
        ValueError
            If it is another one, and cannot be pickled.
        """
        with self._group.together():
            sent = _sent(self._group, optimizer)
            if sent is None and not self._group.rank and optimizer is not self._optimizer:
                raise ValueError(
                    f"a callback set the optimizer {optimizer!r}, which the other ranks cannot get, "
                    "because it cannot be pickled; set a number, or a schedule of `xpnet.schedules`"
                )
        content = self._group.broadcast(None if sent == self._sent else sent)
        if content is not None:
            self._sent = content
            self._replace(pickle.loads(content) if self._group.rank else optimizer)
        return self._optimizer

    def epoch(self, order: np.ndarray, *args: Any) -> Array:
        """Train over all images in this order, and return the sum of this rank's losses: see `Trainer`."""
        before = self._group.waited
        total = super().epoch(order, *args)
        self._average_layer_state()
        waited = self._group.waited - before
        self.waited.append(None if math.isnan(waited) else waited)
        return total

    def close(self) -> None:
        """See `Trainer`."""
        super().close()
        del self._kept, self._alone

    def _hold(self, rows: Any) -> None:
        images, targets = self._problem.on_device(self.xp, self._train.select(rows), name="train", keep=True)
        self._images, self._targets = images, targets

    def _parts(self) -> tuple[tuple[int, Part], ...]:
        """Return where each batch of an epoch begins, and this rank's part of it."""
        return _parts_of_batches(self._samples, self._batch_size, self._group.rank, self._group.size)

    def _own_rows(self, order: np.ndarray) -> np.ndarray:
        found = [order[begin + part.first : begin + part.first + part.rows] for begin, part in self._parts()]
        return np.concatenate(found)

    def _runs(self, order: np.ndarray) -> Iterator[tuple[Rows, tuple[Any, ...]]]:
        weights = None if self._train.sample_weight is None else self._train.sample_weight[order]
        rows = self._own_rows(order)
        if self._group.holds_shares:
            self._hold(rows)
            rows = np.arange(len(rows), dtype=np.int32)
        indices, constants, end = self.xp.asarray(rows), (self._images.images, self._targets.arrays), 0
        for part, group in itertools.groupby(self._parts(), operator.itemgetter(1)):
            batches = [begin for begin, _ in group]
            begin, end = end, end + len(batches) * part.rows
            own = self.xp.reshape(indices[begin:end], (len(batches), -1))
            if weights is None:
                yield own, (*constants, str(part), self._shares([part.share(None)])[0, ...])
            else:
                shares = [part.share(weights[begin : begin + part.whole]) for begin in batches]
                yield (own, self._shares(shares)), (*constants, str(part), None)

    def _rehearsed(self, size: int, times: int) -> tuple[Rows, tuple[Any, ...]]:
        part = Part.of(size, self._group.rank, self._group.size)
        rows, constants = super()._rehearsed(part.rows, times)
        shares = self._shares([part.share(None)] * times)
        if self._train.sample_weight is None:
            return rows, (*constants, str(part), shares[0, ...])
        return (rows, shares), (*constants, str(part), None)

    def _shares(self, shares: list[float]) -> Array:
        return self.xp.asarray(np.array(shares, dtype=self._problem.dtype))

    def _step(  # type: ignore[override]
        self,
        xp: Namespace,
        params: Params,
        state: State,
        total: Array,
        step: int | None,
        flat: Array,
        row: Any,
        images: Array,
        targets: tuple[Array, ...],
        part: str,  # a text, because a whole number may change from call to call, and this makes programs
        share: Array | None,
    ) -> tuple[Params, State, Array, int | None, Array]:
        """Take one training step with the rows of this rank, see `Trainer._step`.

        A row is the indices of a batch or, if shares differ from batch to batch, these and the share.
        """
        indices, share = row if share is None else (row, share)
        own = Part.parsed(part)
        stream = None if step is None else self._dropout.at(step).from_row(own.first)
        x, wanted, weights = self._batch(xp, images, targets, indices)
        # Layers that all ranks give the same rows have nothing to sum.
        among = xp if own.copies == 1 else xp.with_group(ALONE)
        outputs, pullback, layer_state = in_training(self._trunk, among, params, x, stream=stream)
        loss, d_outputs = self._problem.loss.value(xp, outputs, wanted, weights)
        _, grads = pullback(xp.nn.scaled(d_outputs, share), input_gradient=False)
        flat, grads = self._summed(xp, flat, grads)
        params, state = self._stepped(xp, params, layer_state, grads, state)
        if own.copies > 1:  # All ranks have these losses.
            loss = xp.nn.scaled(loss, share)
        total = accumulated(xp, total, loss, weights, own.rows)
        return params, state, total, None if step is None else step + 1, flat

    def _summed(self, xp: Namespace, flat: Array, grads: Params) -> tuple[Array, Params]:
        """Return the flat array, with the gradients of all ranks summed, and the gradients in it."""
        for name, place in self._places.items():
            flat = xp.nn.pack(flat, grads[name], **place)
        flat = xp.nn.all_reduce(flat)
        return flat, {name: xp.nn.unpack(flat, grads[name], **p) for name, p in self._places.items()}

    def _average_layer_state(self) -> None:
        """Give the state of layers, such as running means, the mean over the ranks."""
        for name in self._problem.model.state_shapes:
            own = np.array(self.xp.to_host(self.params[name]), dtype=np.float64)
            # Of the differences from one rank, so that what is equal stays as it is.
            first = self._group.broadcast(own)
            difference = own - first
            self._group.sum(difference)
            mean = (first + difference / self._group.size).astype(self._problem.dtype)
            # In its place: a program, and on a GPU its graph, is of this array.
            put = self.xp.nn.moving_average
            self.params[name] = put(self.params[name], self.xp.asarray(mean), momentum=1.0)


def _sent(group: Any, optimizer: Optimizer) -> bytes | None:
    """Return the optimizer of rank 0 as it is sent to the others; None elsewhere, or if it cannot be sent."""
    try:
        return None if group.rank else pickle.dumps(optimizer)
    except Exception:  # Of what cannot be pickled, each class raises its own.
        return None
