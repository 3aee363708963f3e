"""The epochs of a training, with what is measured after each of them."""

from __future__ import annotations

import math
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.distributed.group import ALONE, Group
from xpnet.epoch_lines import epoch_lines
from xpnet.errors import TrainingDivergedError
from xpnet.measure import Measure
from xpnet.namespace import Namespace
from xpnet.progress import progress_bar
from xpnet.random import Stream
from xpnet.resuming import Resumable
from xpnet.run import Epoch, Run
from xpnet.trainer import Begin, Trainer
from xpnet.trouble import find_trouble, remedy

Array = Any


# What a call of a function with `yield` or `async` returns.
_NOT_RUN: Any = types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType


def train_epochs(
    run: Run,
    trainer: Trainer,
    measures: dict[str, Measure],
    *,
    order: Stream,
    epochs: int,
    callbacks: list[Callable[[Run], object]],
    resumable: Resumable,
    progress: bool | None,
    group: Group,
) -> None:
    """Train until `run` has had so many epochs, or until a callback ends it, with checkpoints.

    `order` gives the order of the samples in each epoch. Only rank 0 of a group has callbacks, and shows
    anything.
    """
    steps = (epochs - resumable.done) * -(-trainer.samples // trainer.batch_size)
    shown = False if group.rank else progress
    bar = progress_bar(steps, "training", show=shown)
    # In this order, because some versions of Rich replace standard output while a bar is shown.
    with epoch_lines(epochs, show=shown) as tell, bar as advance:
        for _ in range(resumable.done, epochs):
            train_epoch(run, trainer, measures, order.permutation(trainer.samples), advance, group)
            tell(run.history[-1])
            with group.together():
                answers = [callback(run) for callback in callbacks]
            run.optimizer = trainer.use(run.optimizer)
            with group.together():
                resumable.epoch_done()
                is_over = any(map(_is_true, answers))
            if group.broadcast(is_over):
                break


def _is_true(answer: Any) -> bool:
    """Return whether what a callback returned ends training."""
    if isinstance(answer, _NOT_RUN):  # It counts as true, but the callback's code never ran.
        raise TypeError(
            f"a callback returned a {type(answer).__name__}, whose code has not run; "
            "write it as a function without `yield` and `async`"
        )
    try:
        return bool(answer)
    except Exception as e:  # Each library raises its own for an array of several elements.
        raise TypeError(
            f"a callback returned a {type(answer).__name__} that is neither true nor false ({e}); "
            "return True to end the training, else None"
        ) from e


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
    figures, mean = _figures(run.xp, trainer, total, measures, group)
    if not all(map(math.isfinite, figures.values())):
        with group.together():  # All ranks are here.
            raise _diverged(trainer, number, figures, mean, begin, order, group)
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
) -> tuple[dict[str, float], float]:
    """Return losses and accuracies after an epoch, and the mean training loss as it is.

    The training loss among the losses is nan if a parameter is not finite. All numbers reach the host in one
    copy.
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
    values, counts = zip(*found.values(), (total, trainer.total_weight), strict=True)
    sums = np.stack([xp.to_host(xp.stack(values)), counts])
    group.sum(sums)
    *means, mean = map(float, sums[0] / sums[1])
    return dict(zip(found, means, strict=True)), mean


def _diverged(
    trainer: Trainer,
    number: int,
    figures: dict[str, float],
    mean: float,
    begin: Begin,
    order: np.ndarray,
    group: Group,
) -> TrainingDivergedError:
    """Return the error for an epoch with these figures, which says where the trouble began."""
    name = next(name for name, value in figures.items() if not math.isfinite(value))
    if name != "train_loss":
        what = f"the mean {name.removesuffix('_loss')} loss of epoch {number} is {figures[name]}"
    elif math.isfinite(mean):
        what = f"a parameter is not finite after epoch {number}"
    else:
        what = f"the mean training loss of epoch {number} is {mean}"
    found = name == "train_loss" and group.rank == 0
    trouble = group.broadcast(find_trouble(trainer.alone(), begin, order) if found else None)
    where = "" if trouble is None else f"; in its step {trouble.step}, {trouble.what} was first not finite"
    error = TrainingDivergedError(f"{what}; {remedy(trainer)}{where}")
    error.epoch = number
    if trouble is not None:
        error.step, error.layer = trouble.step, trouble.layer
    return error
