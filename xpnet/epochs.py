"""One epoch of a training, with what is measured after it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.distributed.group import ALONE, Group
from xpnet.errors import TrainingDivergedError
from xpnet.measure import Measure
from xpnet.namespace import Namespace
from xpnet.run import Epoch, Run
from xpnet.trainer import Begin, Trainer
from xpnet.trouble import find_trouble, remedy

Array = Any


def train_epoch(
    run: Run,
    trainer: Trainer,
    measures: dict[str, Measure],
    order: np.ndarray,
    advance: Callable[[int], object],
    group: Group = ALONE,
) -> None:
    """Train the next epoch over the samples in this order, and record the result in `run`.

    Losses and accuracies are those of all processes of the group.

    Raises
    ------
    TrainingDivergedError
        If the mean loss, or a parameter, is not finite after it.
    """
    number, begin = len(run.history) + 1, trainer.begin(run.params)
    start = time.perf_counter()
    total = trainer.epoch(order, advance)
    run.xp.synchronize()
    seconds = time.perf_counter() - start
    figures = _figures(run.xp, trainer, total, measures, group)
    if not all(map(math.isfinite, figures.values())):
        raise _diverged(trainer, number, figures, float(run.xp.to_host(total)), begin, order, group)
    absent: dict[str, Any] = {"test_loss": None, "test_accuracy": None}
    epoch = Epoch(epoch=number, seconds=seconds, lr=trainer.lr, **absent | figures)
    run.params, run.history = trainer.snapshot(), [*run.history, epoch]
    run.report = _report(trainer, measures)


def _report(trainer: Trainer, measures: dict[str, Measure]) -> str:
    """Return why steps are not sped up; empty if they are."""
    tested = (f"in {name}, {measure.report}" for name, measure in measures.items() if measure.report)
    return trainer.report or next(tested, "")


def _figures(
    xp: Namespace, trainer: Trainer, total: Array, measures: dict[str, Measure], group: Group
) -> dict[str, float]:
    """Return losses and accuracies after an epoch; all of them reach the host in one copy.

    The training loss is nan if a parameter is not finite, which saves reading back another number.
    """
    params = trainer.params
    finite = xp.all(xp.stack([xp.all(xp.isfinite(p)) for p in params.values()]))
    nan = xp.asarray(math.nan, dtype=total.dtype)
    found = {"train_loss": (xp.where(finite, total, nan), trainer.total_weight)}
    for name, measure in measures.items():
        measured, predicted = measure(params)
        found[f"{name}_loss"] = measured, measure.targets.total_weight
        hits = measure.targets.hits(predicted)
        if hits is not None:
            found[f"{name}_accuracy"] = hits, len(measure.batches)
    values, counts = zip(*found.values(), strict=True)
    sums = np.stack([xp.to_host(xp.stack(values)), counts])
    group.sum(sums)
    return {name: float(value / count) for name, value, count in zip(found, *sums, strict=True)}


def _diverged(
    trainer: Trainer,
    number: int,
    figures: dict[str, float],
    total: float,
    begin: Begin,
    order: np.ndarray,
    group: Group,
) -> TrainingDivergedError:
    """Return the error for an epoch with these figures, which says where the trouble began."""
    name = next(name for name, value in figures.items() if not math.isfinite(value))
    if name != "train_loss":
        what = f"the mean {name.removesuffix('_loss')} loss of epoch {number} is {figures[name]}"
    elif math.isfinite(total):
        what = f"a parameter is not finite after epoch {number}"
    else:
        what = f"the mean training loss of epoch {number} is {total / trainer.total_weight}"
    found = name == "train_loss" and group.rank == 0
    trouble = group.broadcast(find_trouble(trainer.alone(), begin, order) if found else None)
    where = "" if trouble is None else f"; in its step {trouble.step}, {trouble.what} was first not finite"
    error = TrainingDivergedError(f"{what}; {remedy(trainer)}{where}")
    error.epoch = number
    if trouble is not None:
        error.step, error.layer = trouble.step, trouble.layer
    return error
