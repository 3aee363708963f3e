"""Compiled steps for trainings: those of a backend of ours, and those that another library traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.captured import Captured, Patience
from xpnet.namespace import Namespace


def compiled(xp: Namespace, step: Callable[..., Any]) -> Callable[..., Any]:
    """Return `step` as `xp.compile` makes it, so that nothing that it reaches is frozen in it.

    What `xp.compile` returns does so by itself if it has a `report`; of any other, `jax.jit` for one, it is
    taken that it traces the step in its first call and keeps what it found.
    """
    made = xp.compile(step)
    return made if made is step or hasattr(made, "report") else Traced(xp, step)


class Traced:
    """A step that a library traces, as long as nothing changes that the step reaches.

    The first call is the step's own, so as to find out.

    Parameters
    ----------
    xp : Namespace
    step : callable

    Attributes
    ----------
    report : str
        Why the step is not compiled; empty if it is.
    """

    def __init__(self, xp: Namespace, step: Callable[..., Any]) -> None:
        self.report = ""
        self.__wrapped__ = step
        self._xp = xp
        self._step = step
        self._compiled: Callable[..., Any] | None = None
        self._captured = Captured(xp, step)
        self._patience = Patience()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        if self.report:
            return self._step(*args, **kwargs)
        if self._compiled is not None and (changed := self._captured.change()):
            self._compiled = None
            self.report = self._patience.changed(changed)
        if self._compiled is None:
            return self._begin(args, kwargs)
        result = self._compiled(*args, **kwargs)
        self._judge()  # It may have been traced once more.
        self._patience.reward()
        return result

    def _judge(self) -> None:
        """Drop what was compiled if the step cannot be told by it."""
        fault, changed = self._captured.fault(), self._captured.change()
        if fault or changed:
            self._compiled = None
            self.report = fault or self._patience.changed_by_the_step(changed)

    def _begin(self, args: Any, kwargs: Any) -> Any:
        self._captured = Captured(self._xp, self._step)
        result = self._step(*args, **kwargs)
        step = self._step
        # A function of its own, because a library may know its traces by the function.
        self._compiled = self._xp.compile(lambda *args, **kwargs: step(*args, **kwargs))
        self._judge()
        return result
