"""Training steps of one rank alone, of all ranks side by side, and of all ranks together."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import xpnet
from xpnet.distributed import ALONE
from xpnet.distributed.trainer import DistributedTrainer
from xpnet.pace import Pace
from xpnet.trainer import Trainer
from xpnet_bench.workload import Workload

# Rows of a data set that a rank holds: as many as MNIST has.
_MOST_ROWS = 60_000


class Groups(NamedTuple):
    """The groups that measure.

    Attributes
    ----------
    everyone : xpnet.distributed.MPIGroup
        All ranks.
    itself : xpnet.distributed.MPIGroup
        This rank, which packs its gradients as a larger group does, but sends nothing.
    """

    everyone: Any
    itself: Any


class Case:
    """Steps to time, once for each round; a rank without a trainer sleeps meanwhile.

    Parameters
    ----------
    xp : Namespace
    group : xpnet.distributed.MPIGroup
        All ranks, which call the methods together.
    trainer : Trainer or None
    rows : int
        Of all batches of a round.
    """

    def __init__(self, xp: Any, group: Any, trainer: Trainer | None, rows: int) -> None:
        self._xp, self._group, self._trainer = xp, group, trainer
        self._order = np.arange(rows, dtype=np.int32)

    def seconds(self) -> float:
        """Return the mean seconds of a step of this round; the slowest rank counts at each step."""
        self._group.wait()
        laps = [] if self._trainer is None else self._laps(self._trainer)
        self._group.wait(sleeps=True)
        found = [each for each in self._group.gather(laps) if each]
        return sum(map(max, zip(*found, strict=True))) / len(found[0])

    def _laps(self, trainer: Trainer) -> list[float]:
        trainer.pace = Pace(0)
        times = [time.perf_counter()]
        trainer.epoch(self._order, lambda steps: times.append(time.perf_counter()))
        self._xp.synchronize()
        times[-1] = time.perf_counter()
        return [after - before for before, after in itertools.pairwise(times)]

    def close(self) -> None:
        """Drop the trainer."""
        if self._trainer is not None:
            self._trainer.close()


def in_turns(cases: Mapping[str, Case], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round by case: A B C, A B C; the cases are closed."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case.seconds())
    for case in cases.values():
        case.close()
    return found


def alone_and_beside(
    xp: Any, groups: Groups, workload: Workload, train: xpnet.Dataset, *, steps: int
) -> dict[str, Case]:
    """Return a step of rank 0 alone, and of each rank side by side, with the whole batch for each."""
    make = functools.partial(_trainer, xp, workload, train, steps=steps)
    rows, is_first = workload.batch_size, groups.everyone.rank == 0
    case = functools.partial(Case, xp, groups.everyone)
    return {
        "alone": case(make(ALONE, rows) if is_first else None, rows * steps),
        "beside": case(make(groups.itself, rows), rows * steps),
    }


def all_cases(
    xp: Any, groups: Groups, workload: Workload, train: xpnet.Dataset, *, steps: int
) -> dict[str, Case]:
    """Return what `alone_and_beside` does and, of two ranks or more, steps that they take together.

    ``"weak"`` has the batch on each rank, ``"strong"`` divides it, and ``"beside share"`` has the largest
    share on each rank, side by side.
    """
    size, rows = groups.everyone.size, workload.batch_size
    steps = max(2, min(steps, _MOST_ROWS // (rows * size)))
    found = alone_and_beside(xp, groups, workload, train, steps=steps)
    if size == 1:
        return found
    make = functools.partial(_trainer, xp, workload, train, steps=steps)
    case, share = functools.partial(Case, xp, groups.everyone), -(-rows // size)
    return found | {
        "weak": case(make(groups.everyone, rows * size), rows * size * steps),
        "beside share": case(make(groups.itself, share), share * steps),
        "strong": case(make(groups.everyone, rows), rows * steps),
    }


def _trainer(
    xp: Any, workload: Workload, train: xpnet.Dataset, group: Any, rows: int, *, steps: int
) -> Trainer:
    """Return a trainer of so many steps an epoch, ready to be timed."""
    # Repeated, if the data set has fewer samples.
    data = train.select(np.resize(np.arange(len(train)), rows * steps))
    make = functools.partial(DistributedTrainer, group=group) if group.is_split else Trainer
    trainer = make(
        xp,
        workload.problem(data),
        workload.initial(xp, data),
        data,
        optimizer=workload.optimizer,
        batch_size=rows,
        seed=workload.seed,
    )
    trainer.rehearse()
    return trainer
