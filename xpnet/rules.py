"""What the optimizers of `xpnet.optim` share: the state and the call that follow from a declared step."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from xpnet import nn
from xpnet.checks import nonnegative, positive, set_fields
from xpnet.layer import Params
from xpnet.namespace import Namespace
from xpnet.schedules import learning_rate, rate_at

Array = Any
State = dict[str, Any]


def option(default: Any, *, kw_only: bool = True) -> Any:
    """Return a field that `repr` leaves out while it has its default."""
    return dataclasses.field(default=default, kw_only=kw_only, metadata={"is_option": True})


class Rule:
    """Base of the optimizers, which are dataclasses.

    Attributes
    ----------
    function : str
        The name of the step in `nn`; an instance may have another one. Its numbers are attributes of the
        object, and those that can be called are called with the number of the step. The arrays that it
        changes besides `param`, and its counts, are the parts of the state, which start at 0.
    lr : float or schedule
    weight_decay : float
    clip_norm : float or None
    """

    function: ClassVar[str]
    lr: Any
    weight_decay: float
    clip_norm: float | None

    def init(self, xp: Namespace, params: Params) -> State:
        """Return the state before the first step."""
        counts = dict.fromkeys(self._counts(), 0)
        return counts | {part: _zeros(xp, params) for part in nn.FUNCTIONS[self.function].changed[1:]}

    def __call__(self, xp: Namespace, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""
        step, take = nn.FUNCTIONS[self.function], getattr(xp.nn, self.function)
        parts = step.changed[1:]
        _check(xp, params, grads, *(state[part] for part in parts))
        counts = {name: state[name] + 1 for name in self._counts()}
        numbers = *(counts[name] for name in step.varying), *self._numbers(counts.get("step"))
        if self.clip_norm is not None:
            grads = clipped(xp, {name: grads[name] for name in params}, self.clip_norm)
        new: dict[str, Params] = {part: {} for part in step.changed}
        for name, p in params.items():
            arrays = (state[part][name] for part in parts)
            results = take(p, grads[name], *arrays, *numbers)
            for part, x in zip(step.changed, results if parts else [results], strict=True):
                new[part][name] = x
        return new.pop("param"), counts | new

    def _counts(self) -> dict[str, None]:
        """Return the names of the whole numbers in the state."""
        step = nn.FUNCTIONS[self.function]
        follows = any(callable(getattr(self, name)) for name in step.numbers)
        return dict.fromkeys((*step.varying, *(("step",) if follows else ())))

    def _numbers(self, step: Any) -> list[float]:
        names = [*nn.FUNCTIONS[self.function].numbers]
        if not self.weight_decay and _has_default(self.function, names[-1]):
            names.pop()  # Left out, because a kernel of another package may not take it.
        return [rate_at(getattr(self, name), step) for name in names]

    def __repr__(self) -> str:
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        pairs = [(field, getattr(self, field.name)) for field in fields if field.repr]
        shown = [(f.name, x) for f, x in pairs if not ("is_option" in f.metadata and x == f.default)]
        return f"{type(self).__qualname__}({', '.join(f'{name}={x!r}' for name, x in shown)})"


@functools.cache
def _has_default(function: str, number: str) -> bool:
    """Return whether a number of a step of `nn` may be left out."""
    parameter = inspect.signature(nn.FUNCTIONS[function].twin).parameters[number]
    return parameter.default is not parameter.empty


def check_fields(record: Any, **checks: Any) -> None:
    """Check the fields of an optimizer: those that all have, and others as `xpnet.checks.set_fields` does."""
    set_fields(record, lr=learning_rate, weight_decay=nonnegative, clip_norm=_norm, **checks)


def replace_function(record: Any, function: str) -> None:
    """Let an optimizer take another step of `nn` than its class does."""
    object.__setattr__(record, "function", function)


def continued(xp: Namespace, optimizer: Any, params: Params, state: State) -> State:
    """Return the state with which an optimizer continues from that of another one.

    It has the parts of the other state; those that are not in it are as before the first step.
    """
    new = optimizer.init(xp, params)
    return {name: state.get(name, part) for name, part in new.items()} if isinstance(new, dict) else new


def clipped(xp: Namespace, grads: Params, limit: float) -> Params:
    """Return gradients scaled so that the norm of all numbers in them is at most `limit`.

    The rule of Pascanu, Mikolov and Bengio, "On the Difficulty of Training Recurrent Neural Networks" (2013),
    with the 1e-6 that `torch.nn.utils.clip_grad_norm_` adds to the norm.
    """
    if not grads:
        return grads
    first, *others = (xp.nn.sum_of_squares(g) for g in grads.values())
    for squares in others:
        first = xp.nn.accumulate(first, squares, 1.0)
    return {name: xp.nn.clip_by_norm(g, first, limit) for name, g in grads.items()}


def _norm(name: str, value: Any) -> float | None:
    return None if value is None else positive(name, value)


def _check(xp: Namespace, params: Params, grads: Params, *states: Params) -> None:
    """Raise unless gradients and state fit the parameters, and all are arrays of `xp`."""
    for name, p in params.items():
        _check_float(xp, name, p)
        for what, arrays in (("grads", grads), *(("state", state) for state in states)):
            if name not in arrays:
                raise ValueError(f"`{what}` has no {name!r}; pass arrays with the names of `params`")
            x = arrays[name]
            xp.check_array(name, x)
            if x.shape != p.shape:
                raise ValueError(
                    f"`{what}` has shape {tuple(x.shape)} for {name!r}, but `params` has {tuple(p.shape)}"
                )
            if x.dtype != p.dtype:
                raise TypeError(
                    f"`{what}` is {x.dtype} for {name!r}, but `params` is {p.dtype}; pass arrays of one dtype"
                )


def _check_float(xp: Namespace, name: str, p: Array) -> None:
    """Raise unless a parameter is a float32 or float64 array of `xp`."""
    xp.check_array(name, p)
    if p.dtype != xp.float32 and p.dtype != xp.float64:
        raise TypeError(f"`params` must be float32 or float64, got {p.dtype} for {name!r}")


def _zeros(xp: Namespace, params: Mapping[str, Array]) -> Params:
    for name, p in params.items():
        _check_float(xp, name, p)
    return {name: xp.zeros_like(p) for name, p in params.items()}
