"""Steps of optimizers, whose rules are structs of `kernels.cu` that kernels take by value."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from xpnet import nn
from xpnet_cupy import kernels, launch, source

Array = Any


def step(name: str, given: Mapping[str, Any]) -> Any:
    """Return what a step of `xpnet.nn` changes: the parameter and its state, overwritten.

    Parameters
    ----------
    name : str
    given : mapping
        The arguments of the twin by name; see `rule` for a count.
    """
    kept = [given[key] for key in nn.FUNCTIONS[name].changed]
    dtype, n = kept[0].dtype, kept[0].size
    grad = kernels.ready(given["grad"], dtype)

    def change(param: Array, *state: Array) -> None:
        by = rule(name, dtype, state, given)
        kernels.run("step", launch.blocks(n), launch.THREADS, param, grad, n, by, Rule=name, T=dtype)

    changed = in_place(change, kept)
    return changed if len(changed) > 1 else changed[0]


def rule(
    name: str | None, dtype: numpy.dtype, state: Sequence[Array] = (), given: Mapping[str, Any] | None = None
) -> Any:
    """Return the struct of a rule.

    Parameters
    ----------
    name : str or None
        A step of `xpnet.nn`, or None for the rule that stores the gradient.
    dtype : dtype
    state : sequence of array
        What the step changes beside the parameter.
    given : mapping
        The numbers of the twin, by name. A count may be an array on the device too: see `kernels.count`; so
        may one of `source.varying`: see `kernels.pick`.
    """
    known = {**_kept(given or {}), **(given or {}), **_of_betas(given or {})}
    if name is not None:
        known |= zip(nn.FUNCTIONS[name].changed[1:], (x.data.ptr for x in state), strict=True)
    layout = source.layout(name, dtype)
    return numpy.array(tuple([_field(known[name], layout[name]) for name in layout.names or ()]), layout)


def _field(value: Any, dtype: numpy.dtype) -> Any:
    """Return the value of a field; a `Number` has two parts."""
    if not dtype.names:
        return value
    return (value, 0) if isinstance(value, numbers.Real) else (0, value.data.ptr)


def _kept(given: Mapping[str, Any]) -> dict[str, float]:
    """Return what decay leaves of a parameter, unless it is on the device."""
    decay = given.get("weight_decay", 0.0)
    return {} if "kept" in given else {"kept": 1 - given["lr"] * decay if decay else 1.0}


def _of_betas(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that go with each `beta`, or with `alpha`, of a rule: see `kernels.cu`."""
    count = given.get("step", 1)
    is_known = isinstance(count, numbers.Integral)
    found = {"counted": 0 if is_known else count.data.ptr}
    for key, beta in given.items():
        if key == "alpha":
            found["rest"] = 1 - beta
        if key.startswith("beta"):
            number = key.removeprefix("beta")
            found[f"rest{number}"] = 1 - beta
            found[f"unbias{number}"] = 1 - beta**count if is_known else 1.0
    return found


def add_parts(name: str | None, parts: Array, count: int, weight: Array, bias: Array, *by: Any) -> None:
    """Change a weight and a bias by rules and gradients, which are sums of parts.

    Parameters
    ----------
    name : str or None
        See `rules.rule`.
    parts : array
        `count` times the gradients of the weight, then of the bias.
    weight, bias : array
    *by : struct
        The two rules.
    """
    blocks, dtype = -(-(weight.size + bias.size) // launch.OUTPUTS), weight.dtype
    sizes = count, weight.size, bias.size
    kernels.run("add_parts", blocks, launch.THREADS, parts, *sizes, weight, bias, *by, Rule=name, T=dtype)


def in_place(change: Callable[..., None], kept: Sequence[Array]) -> tuple[Array, ...]:
    """Let a function change arrays, or copies that a kernel can use, and return the arrays."""
    work = [kernels.ready(x, kept[0].dtype) for x in kept]
    change(*work)
    for x, result in zip(kept, work, strict=True):
        if result is not x:
            x[...] = result
    return tuple(kept)
