"""Numbers that differ from call to call, for operations and for functions on the host."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from xpnet.replay.trace import Call, Running
from xpnet_numba.operations import signature

Array = Any
Count = Callable[[Sequence[Any]], tuple[float, ...]]


def counter(name: str, numbers: Mapping[str, Any], running: Mapping[str, Running]) -> Count:
    """Return a function that takes the leaves of the arguments and returns the numbers of an operation."""
    declared = signature(name)
    fixed = {key: number for key, number in numbers.items() if key not in running}
    values = functools.partial(declared.convert or declared.values, **fixed)
    if len(running) == 1:  # It is called at every step, and a loop takes longer.
        ((only, number),) = running.items()
        return lambda leaves: values(**{only: number.of(leaves)})
    return lambda leaves: values(**{key: n.of(leaves) for key, n in running.items()})


def on_host(call: Call) -> tuple[Callable[..., None], Count | None]:
    """Return a function that does what a call does, and what prepares it for a call with other leaves.

    The function takes the arrays to be read and those to be written.
    """
    running, count = call.running, len(call.arrays)
    function, numbers = call.function_of(*call.arrays, *running), [1] * len(running)

    def run(*arrays: Array) -> None:
        made = function(*arrays[:count], *numbers)
        made = made if isinstance(made, tuple) else (made,)
        made = [x for x in made if x is not None]
        for target, source in zip(arrays[count:], made, strict=True):
            if not numpy.may_share_memory(target, source):
                target[...] = source

    def prepare(leaves: Sequence[Any]) -> tuple[float, ...]:
        numbers[:] = [number.of(leaves) for number in running.values()]
        return ()

    return run, prepare if running else None
