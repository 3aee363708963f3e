"""How long descents go on: their progress, and large steps followed by small ones."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from xpnet import checks
from xpnet.datasets import Dataset
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.optim import Momentum
from xpnet.progress import is_terminal, progress_bar
from xpnet.run import Run
from xpnet.train import fit

Array = Any

_TRIED, _TOLD = 3, 20


class Pace:
    """Counts the iterations of a descent and reports its progress.

    Parameters
    ----------
    xp : Namespace
    iterations : int
    say : callable
        Receives the lines to print.

    Attributes
    ----------
    told : list of int
        About 20 iterations: the first, every hundredth of 2000, and the last.
    costs : list of float
        The costs at these iterations.
    """

    def __init__(self, xp: Namespace, iterations: int, say: Callable[[str], object]) -> None:
        self.xp = xp
        self.iterations = checks.count("iterations", iterations)
        self.say = say
        self.told: list[int] = []
        self.costs: list[float] = []

    def __iter__(self) -> Iterator[int]:
        start = 0.0
        with progress_bar(self.iterations, "descending") as advance:
            for i in range(self.iterations):
                # The first iteration includes compilation, so it is not representative.
                if i == 1:
                    self.xp.synchronize()
                    start = time.perf_counter()
                if i == 1 + _TRIED:
                    self.xp.synchronize()
                    rest = (time.perf_counter() - start) / _TRIED * (self.iterations - i)
                    self.say(f"{self.iterations} iterations, about {rest:.0f} s to go")
                yield i
                advance(1)

    def tell(self, i: int, cost: Array) -> None:
        """Print and record the cost if iteration `i` is one of about 20, or the last one."""
        if i % max(1, self.iterations // _TOLD) == 0 or i == self.iterations - 1:
            self.told.append(i)
            self.costs.append(float(self.xp.to_host(cost)))
            self.say(f"iteration {i:4}   cost {self.costs[-1]:.4f}")


def draw_cost(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the cost by iteration."""
    axes = figure.subplots()
    axes.plot(figures["iteration"], figures["cost"], ".-", color="#0072B2")
    axes.set(title="The cost falls", xlabel="iteration", ylabel="cost, nats per image", ylim=(0, None))
    axes.grid(alpha=0.3)


def fit_in_two_stages(
    xp: Namespace,
    model: Sequential,
    train: Dataset,
    test: Dataset,
    lr: float,
    epochs: int,
    seed: int,
    say: Callable[[str], object] = lambda line: None,
) -> Run:
    """Return the run of a model after two thirds of the epochs at `lr` and the rest at a tenth of it."""
    epochs, seed = checks.count("epochs", epochs), checks.seed(seed)
    slow = epochs // 3
    stages = [(lr, epochs - slow, seed), (lr / 10, slow, (seed + 1) % 2**64)]
    params = None
    for rate, count, own in stages if slow else stages[:1]:
        trained = fit(
            xp,
            model,
            train,
            test=test,
            optimizer=Momentum(rate),
            epochs=count,
            seed=own,
            params=params,
            callbacks=[functools.partial(_say_epoch, rate, say)],
            progress=is_terminal(),
        )
        params = trained.params
    return trained


def _say_epoch(lr: float, say: Callable[[str], object], run: Run) -> None:
    epoch = run.history[-1]
    say(
        f"learning rate {lr:<4g} epoch {epoch.epoch}   loss {epoch.train_loss:.4f}   "
        f"test accuracy {epoch.test_accuracy:.2%}"
    )
