"""Arguments of any function of `nn`, drawn from its declaration, for tests and benchmarks of its kernels."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy

from xpnet.nn import Form, Function
from xpnet.nn.declaration import FURTHER

Array = Any

LENGTHS = 2, 3, 5, 8, 10, 17, 33, 64, 70, 130
"""Lengths of axes, whole vectors and whole tiles of kernels among them, and others."""

# exp() of the larger ones overflows; some of the smaller ones are subnormal, or 0 in float32.
EXTREMES = 0.0, -0.0, 1e4, -1e4, 88.0, -80.0, -104.0, 1e-30, -1e-38, 1e-44, 1e-300, 5e-324, 1.0, -1.0


def drawn(
    function: Function,
    *,
    seed: int,
    dtype: str = "float32",
    integer: str = "int32",
    stored: str = "uint8",
    sizes: Mapping[str, Any] | None = None,
    extreme: bool = False,
) -> dict[str, Any]:
    """Return arguments of a function of `nn` by name, in order: read-only NumPy arrays and numbers.

    Parameters
    ----------
    function : Function
    seed : int
    dtype, integer, stored : str
        Dtypes of the arrays, by their kind.
    sizes : mapping of str to int, optional
        Lengths of axes, and the shape of `*` under ``"*"`` and that of `...` under ``"..."``; those that are
        left out are drawn, and differ.
        An axis that cannot have any length has at most the largest that is drawn for it.
    extreme : bool
        Whether values are the largest and smallest that a function must bear, within its intervals.
    """
    random = numpy.random.Generator(numpy.random.Philox(seed))
    lengths, options = _fitting(function, random, dict(sizes or {}))
    dtypes = {"float": dtype, "int": integer, "stored": stored}
    arguments: dict[str, Any] = {}
    for name, form in function.arguments.items():
        if form.kind == "count":
            arguments[name] = lengths.get(name) or int(random.integers(1, 10))
        elif form.kind == "key":
            arguments[name] = int(random.integers(2**64, dtype="uint64"))
        else:
            arguments[name] = _array(random, form, lengths, dtypes[form.kind], extreme=extreme)
            arguments[name].flags.writeable = False
    for name, kind in function.numbers.items():
        arguments[name] = numpy.dtype(dtype) if name == "dtype" else _number(random, kind, extreme=extreme)
    return arguments | options


def placed(xp: Any, function: Function, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return drawn arguments on a namespace; what the function changes is a copy that can be written to."""
    made = {}
    for name, value in arguments.items():
        if isinstance(value, numpy.ndarray):
            made[name] = xp.asarray(value.copy() if name in function.changed else value)
        else:
            made[name] = getattr(xp, value.name) if isinstance(value, numpy.dtype) else value
    return made


def passed(function: Function, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments as most code passes them: by position, and by name where they must be."""
    bound = inspect.signature(function.twin).bind(None, **arguments)
    return bound.args[1:], bound.kwargs


def _fitting(
    function: Function, random: numpy.random.Generator, sizes: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return lengths of axes and options that fit together."""
    for _ in range(1000):
        lengths = _lengths(function, random) | sizes
        for axis, choices in function.drawable.items():
            lengths[axis] = min(sizes.get(axis) or int(random.choice(choices)), max(choices))
        options = {name: _one_of(random, values) for name, values in function.options.items()}
        known = {axis: length for axis, length in lengths.items() if axis not in function.computed}
        with contextlib.suppress(ValueError):
            return function.completed(known, options), options
    raise ValueError(f"found no lengths and options of {function.name!r} that fit together")


def _one_of(random: numpy.random.Generator, values: tuple[Any, ...]) -> Any:
    return values[random.integers(len(values))]


def _lengths(function: Function, random: numpy.random.Generator) -> dict[str, Any]:
    axes = [axis for axis in function.axes if axis not in {*function.computed, *function.drawable}]
    lengths: dict[str, Any] = dict(zip(axes, map(int, random.permutation(LENGTHS)), strict=False))
    lengths = {"*": _shape(random, 4), **lengths}
    return lengths | {FURTHER: _shape(random, 3)} if function.has_further_axes else lengths


def _shape(random: numpy.random.Generator, most: int) -> tuple[int, ...]:
    """Return a shape with fewer axes than `most`."""
    return tuple(map(int, random.choice(LENGTHS[:6], random.integers(most))))


def _array(
    random: numpy.random.Generator, form: Form, lengths: Mapping[str, Any], dtype: str, *, extreme: bool
) -> Array:
    shape = form.shape(lengths)
    if numpy.dtype(dtype).kind == "f":
        with numpy.errstate(under="ignore"):
            return numpy.asarray(_floats(random, form, shape, extreme=extreme)).astype(dtype)
    limits = [int(axis) if axis.isdecimal() else lengths[axis] for axis in form.below] or [256]
    return random.integers(0, min(max(limits), numpy.iinfo(dtype).max + 1), shape).astype(dtype)


def _floats(random: numpy.random.Generator, form: Form, shape: tuple[int, ...], *, extreme: bool) -> Array:
    low, high = form.interval
    if extreme:
        return numpy.clip(random.choice(EXTREMES, shape), low, high)
    low, high = max(low, min(-3.0, high - 1)), min(high, max(3.0, low + 1))
    return random.uniform(low, high, shape)


def _number(random: numpy.random.Generator, kind: Any, *, extreme: bool) -> float | bool:
    if kind is bool:
        return True
    return float(random.choice([1e-8, 0.999])) if extreme else float(random.uniform(0.05, 0.95))
