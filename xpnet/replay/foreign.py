"""Compiled steps for trainings: those of our backends, and those that another library traces."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from xpnet.checked import check_calls
from xpnet.errors import shortened
from xpnet.namespace import Namespace
from xpnet.replay.captured import Captured, Patience


def compile_step(xp: Namespace, step: Callable[..., Any]) -> Callable[..., Any]:
    """Return `step` as `xp.compile` makes it, but never with old values of what it reaches.

    What `xp.compile` returns sees to that itself if it has a `report`. Anything else, such as what `jax.jit`
    returns, is assumed to trace the step in its first call and to keep what it read.
    """
    made = xp.compile(step)
    return made if made is step or hasattr(made, "report") else Jitted(xp, step)


def checked_at_first(xp: Namespace, step: Any) -> Callable[..., Any]:
    """Return what `compile_step` made of a step, which now checks how its first call uses `xp.nn`.

    Shapes and dtypes are checked. Values are not: nothing is read back from the device.
    """
    if hasattr(step, "check"):  # A step that is recorded has its calls checked there.
        step.made.check = functools.partial(check_calls, xp, values=False)
        return step
    return step if xp.checked else CheckedAtFirst(xp, step)


class CheckedAtFirst:
    """A step whose first call is checked; see `checked_at_first`."""

    def __init__(self, xp: Namespace, step: Callable[..., Any]) -> None:
        self.__wrapped__ = step
        self._xp = xp
        self._begun = False

    @property
    def report(self) -> str:
        """Why the step is not compiled; empty if it is, or if there is nothing to compile it with."""
        return getattr(self.__wrapped__, "report", "")

    def __call__(self, xp: Namespace, /, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        if self._begun:
            return self.__wrapped__(xp, *args, **kwargs)
        self._begun = True
        own = vars(self._xp.nn)
        checking = {name: check_calls(self._xp, name, own[name], values=False) for name in own}
        return self.__wrapped__(
            self._xp.with_functions(types.SimpleNamespace(**own | checking)), *args, **kwargs
        )


class Jitted:
    """A step that a library compiles just in time, as long as nothing changes that the step reaches.

    The first call runs the step itself, to see what it reaches.

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
        self._has_run = False  # what was compiled last
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
        try:
            result = self._compiled(*args, **kwargs)
        except Exception as e:
            if self._has_run:
                raise
            # Schedules, for example, compute with Python's numbers only.
            self._compiled = None
            self.report = f"the step cannot be traced: {type(e).__name__}: {shortened(str(e), 200)}"
            return self._step(*args, **kwargs)
        self._has_run = True
        self._judge()  # It may have been traced once more.
        self._patience.reward()
        return result

    def _judge(self) -> None:
        """Drop what was compiled if it cannot stand for the step."""
        fault, changed = self._captured.fault(), self._captured.change()
        if fault or changed:
            self._compiled = None
            self.report = fault or self._patience.changed_by_the_step(changed)

    def _begin(self, args: Any, kwargs: Any) -> Any:
        self._captured = Captured(self._xp, self._step)
        result = self._step(*args, **kwargs)
        step, self._has_run = self._step, False
        # A function of its own, because a library may know its traces by the function.
        self._compiled = self._xp.compile(lambda *args, **kwargs: step(*args, **kwargs))
        self._judge()
        return result
