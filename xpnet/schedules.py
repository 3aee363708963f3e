"""Schedules: learning rates that follow from the number of the step.

A schedule is plain data. Called with the number of a step, the first being 1, it returns the rate of this
step. An optimizer takes one in the place of a number: ``SGD(cosine(0.1, steps=1000))``. Compiled steps keep
it, and compute the rate at each step. A schedule times a number above 0 is a schedule with all rates
multiplied. Rates are those of the schedulers of PyTorch that the classes name, at each step from its 0 on.

One of your own needs nothing but a method ``__call__(step)`` that returns a float.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, ClassVar, Protocol, Self

from xpnet.checks import count, nonnegative, part, positive, set_fields
from xpnet.errors import shortened
from xpnet.replay.counting import Counting, computed


class Schedule(Protocol):
    """What an optimizer requires of a schedule."""

    def __call__(self, step: int) -> float:
        """Return the rate at a step, the first being 1."""
        ...


class _Rates(abc.ABC):
    """Base of the schedules: the call and the product, given `_rate` of steps that are counted from 0.

    Attributes
    ----------
    scaled : tuple of str
        The fields that are rates, or schedules.
    """

    scaled: ClassVar[tuple[str, ...]] = ("lr",)

    def __call__(self, step: int) -> float:
        """Return the rate at a step, the first being 1."""
        given: Any = step
        rate: float = computed(self._at, given if type(given) is Counting else count("step", given))
        return rate

    def __mul__(self, factor: float) -> Self:
        """Return the schedule with all rates multiplied by a number above 0."""
        number, fields = positive("factor", factor), vars(self)
        made: Any = dataclasses.replace(self, **{name: fields[name] * number for name in self.scaled})  # type: ignore[type-var]
        return made

    __rmul__ = __mul__

    def _at(self, step: int) -> float:
        return self._rate(step - 1)

    @abc.abstractmethod
    def _rate(self, done: int) -> float:
        """Return the rate after so many steps."""


@dataclasses.dataclass(frozen=True)
class Constant(_Rates):
    """The same rate at each step.

    Parameters
    ----------
    lr : float
        Above 0.
    """

    lr: float

    def __post_init__(self) -> None:
        set_fields(self, lr=positive)

    def _rate(self, done: int) -> float:
        return self.lr


@dataclasses.dataclass(frozen=True)
class Step(_Rates):
    """A rate that is multiplied by `factor` after each `every` steps, as by PyTorch's `StepLR`.

    Parameters
    ----------
    lr : float
        The first rate, above 0.
    every : int
        Steps with one rate.
    factor : float
        Above 0; PyTorch's `gamma`.
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, every=count, factor=positive)

    def _rate(self, done: int) -> float:
        return float(self.lr * self.factor ** (done // self.every))


@dataclasses.dataclass(frozen=True)
class Cosine(_Rates):
    """A rate that falls from `lr` to `final` along half a cosine, as by PyTorch's `CosineAnnealingLR`.

    That is formula 5 of Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017),
    without restarts. From step ``steps + 1`` on the rate is `final`.

    Parameters
    ----------
    lr : float
        The first rate, above 0.
    steps : int
        PyTorch's `T_max`.
    final : float
        0 or above; PyTorch's `eta_min`.
    """

    lr: float
    steps: int
    final: float = 0.0

    scaled = "lr", "final"

    def __post_init__(self) -> None:
        set_fields(self, lr=positive, steps=count, final=nonnegative)

    def _rate(self, done: int) -> float:
        return _between(self.lr, self.final, min(done / self.steps, 1.0))


@dataclasses.dataclass(frozen=True)
class Warmup(_Rates):
    """A rate that grows linearly to the first one of another schedule, which then begins.

    That is PyTorch's `SequentialLR` of a `LinearLR` and another scheduler, with `steps` as milestone. For the
    reason see Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour" (2017).

    Parameters
    ----------
    steps : int
        Steps before `then` begins.
    then : schedule or float
        A number is a constant rate.
    start : float
        The first rate as a part of the one that is reached, in [0, 1]; PyTorch's `start_factor`.
    """

    steps: int
    then: Any
    start: float = 1 / 3

    scaled = ("then",)

    def __post_init__(self) -> None:
        set_fields(self, steps=count, then=_schedule, start=part)

    def _rate(self, done: int) -> float:
        # Without a check of the number, which each step would pay for.
        then = self.then._at if isinstance(self.then, _Rates) else self.then
        if done >= self.steps:
            return float(then(done - self.steps + 1))
        return float(then(1) * (self.start + (1 - self.start) * done / self.steps))


@dataclasses.dataclass(frozen=True)
class OneCycle(_Rates):
    """A rate that grows to `lr` and then falls far below its first value, as by PyTorch's `OneCycleLR`.

    Both parts are halves of a cosine. See Smith and Topin, "Super-Convergence: Very Fast Training of Neural
    Networks Using Large Learning Rates" (2018). After `steps` the last rate stays.

    Parameters
    ----------
    lr : float
        The largest rate, above 0; PyTorch's `max_lr`.
    steps : int
        PyTorch's `total_steps`.
    pct_start : float
        The part of the steps in which the rate grows, in [0, 1].
    div_factor : float
        The largest rate divided by the first one, above 0.
    final_div_factor : float
        The first rate divided by the last one, above 0.
    """

    lr: float
    steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        set_fields(
            self, lr=positive, steps=count, pct_start=part, div_factor=positive, final_div_factor=positive
        )

    def _rate(self, done: int) -> float:
        first = self.lr / self.div_factor
        top, last = self.pct_start * self.steps - 1, self.steps - 1
        done = min(done, last)
        if done < top:
            return _between(first, self.lr, done / top)
        # One step, or a rate that grows up to the last one, has nothing to fall along.
        fallen = (done - top) / (last - top) if last > top else 0.0
        return _between(self.lr, first / self.final_div_factor, fallen)


SCHEDULES: dict[str, Any] = {
    "constant": Constant,
    "step": Step,
    "cosine": Cosine,
    "warmup": Warmup,
    "one_cycle": OneCycle,
}
"""The schedules of `xpnet`, by name; classes of your own are not in it."""

constant, step, cosine, warmup, one_cycle = Constant, Step, Cosine, Warmup, OneCycle


def rate_at(lr: Any, step: Any) -> float:
    """Return a learning rate, which is a number or a schedule, at a step.

    In a compiled step it is computed anew at each replay, whatever the schedule does in Python.

    Parameters
    ----------
    lr : float or schedule
    step : int
        The first being 1; not used if `lr` is a number.

    Raises
    ------
    ValueError
        If a schedule returns what is no finite number, or one below 0.
    """
    if not callable(lr):
        return float(lr)
    rate: float = lr(step) if isinstance(lr, _Rates) else computed(_Checked(lr), step)
    return rate


def learning_rate(name: str, value: Any) -> Any:
    """Return a schedule as it is, and anything else as a finite float above 0, or raise a ValueError."""
    if callable(value) and not isinstance(value, type):
        return value
    return positive(name, value)


@dataclasses.dataclass(frozen=True)
class _Checked:
    """A schedule of a user's, whose rates are checked."""

    schedule: Any

    def __call__(self, step: int) -> float:
        rate = self.schedule(step)
        try:
            return nonnegative("rate", rate)
        except ValueError:
            raise ValueError(
                "a schedule must return a finite number, 0 or above, but "
                f"{type(self.schedule).__name__} returned {shortened(repr(rate), 100)} for step {step}"
            ) from None


def _schedule(name: str, value: Any) -> Any:
    found = learning_rate(name, value)
    return found if callable(found) else Constant(found)


def _between(first: float, last: float, share: float) -> float:
    """Return the number between two that half a cosine has at a share of its way."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
