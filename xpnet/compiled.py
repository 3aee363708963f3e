"""What `xp.compile` takes and returns: a step that is called with its namespace first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpnet.namespace import Namespace


class Bound:
    """A step as a function of arrays.

    Parameters
    ----------
    xp : Namespace
    step : callable
        Takes a namespace first.
    """

    def __init__(self, xp: Namespace, step: Callable[..., Any]) -> None:
        self.xp = xp
        self.step = step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return ``step(xp, ...)``."""
        return self.step(self.xp, *args, **kwargs)


class Compiled:
    """A step with what a backend made of it; attributes such as `report` are those of `made`.

    Parameters
    ----------
    xp : Namespace
    step : callable
        Takes a namespace first.
    made : callable
        Has the results of ``step(xp, ...)``, and does not take `xp`.
    """

    def __init__(self, xp: Namespace, step: Callable[..., Any], made: Callable[..., Any]) -> None:
        self.__wrapped__ = step
        self.made = made
        self._xp = xp

    def __call__(self, xp: Namespace, /, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        if xp is self._xp:
            return self.made(*args, **kwargs)
        if not hasattr(xp, "nn"):
            raise TypeError(
                "a step is called with a namespace first, as `step(xp, ...)`, but its first argument is a "
                f"{type(xp).__name__}"
            )
        # Perhaps that of a step that is being traced, which notes the calls of this one.
        return self.__wrapped__(xp, *args, **kwargs)

    def is_of(self, xp: Namespace) -> bool:
        """Return whether this was compiled by a namespace."""
        return xp is self._xp

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "made":
            raise AttributeError(name)
        return getattr(self.made, name)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _compiled, (self._xp, self.__wrapped__)  # In another process it has to be compiled again.


def _compiled(xp: Namespace, step: Callable[..., Any]) -> Callable[..., Any]:
    return xp.compile(step)
