"""Numbers of an optimizer's rule: those that a kernel is compiled with, and those that differ by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy

from xpnet.replay.trace import Call, Running
from xpnet_cupy import source


@dataclasses.dataclass(frozen=True)
class Kept:
    """What decay leaves of a parameter in a step, whose rate a function returns."""

    rate: Callable[[int], float]
    decay: float

    def __call__(self, step: int) -> float:
        """Return it for the number of a step."""
        return 1 - self.rate(step) * self.decay


@dataclasses.dataclass(frozen=True)
class Unbias:
    """What a moving average from 0 is divided by after some steps."""

    beta: float

    def __call__(self, step: int) -> float:
        """Return it for the number of a step."""
        return float(1 - self.beta**step)

    def each(self, steps: numpy.ndarray) -> numpy.ndarray:
        """Return it for the numbers of several steps."""
        return 1 - self.beta**steps


def numbers_of(call: Call) -> list[Running]:
    """Return the numbers of a step's rule that differ from step to step."""
    return [number for _, _, number in fields_of(call) if isinstance(number, Running)] + counted_of(call)


def counted_of(call: Call) -> list[Running]:
    """Return what both moments are divided by, if the number of the step differs from step to step."""
    count = call.running.get("step")
    if count is None or count.function is not None:
        return []
    betas = [float(call.numbers[name]) for name in ("beta1", "beta2")]
    return [dataclasses.replace(count, function=Unbias(beta)) for beta in betas]


def fields_of(call: Call) -> list[tuple[str, str, float | Running | None]]:
    """Return the name, the kind and the number of each field of a rule, in order; None for pointers."""
    given = dict(call.numbers)
    decay, lr = given.get("weight_decay", 0.0), given.get("lr")
    if isinstance(lr, Running):
        assert lr.function is not None
        kept = dataclasses.replace(lr, function=Kept(lr.function, float(decay))) if decay else 1.0
    else:
        kept = 1 - lr * decay if decay else 1.0
    given["kept"] = kept
    for name, beta in call.numbers.items():
        if name == "alpha":
            given["rest"] = 1 - beta
        if name.startswith("beta"):
            number = name.removeprefix("beta")
            given[f"rest{number}"] = 1 - beta
            is_running = isinstance(given.get("step"), Running)
            given[f"unbias{number}"] = 1.0 if is_running else 1 - beta ** given.get("step", 1)
    return [
        (name, kind, None if kind == "pointer" else given[name]) for name, kind in source.fields(call.name)
    ]
