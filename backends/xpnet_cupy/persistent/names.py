"""What values are called in the source of a persistent kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy

from xpnet.replay.trace import Value
from xpnet_cupy.persistent.planned import Plan

_TYPES = {
    numpy.dtype("float32"): "float",
    numpy.dtype("float64"): "double",
    numpy.dtype("uint8"): "unsigned char",
    numpy.dtype("int32"): "int",
    numpy.dtype("int64"): "Index",
}


def c_type(dtype: Any) -> str:
    """Return the C++ type of a dtype."""
    return _TYPES[numpy.dtype(dtype)]


def real(number: Any) -> str:
    """Return a number as a T, rounded once."""
    assert math.isfinite(number)
    return f"T({float(number)!r})"


class Names:
    """The names of values: what a function calls them, and the number of its call.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._found: dict[Value, str] = {}
        for i, call in enumerate(plan.trace.calls):
            arguments = {n: v for n, v in call.arrays.items() if n not in call.function.changed[1:]}
            made = zip(call.function.results, call.results, strict=True)
            for name, value in (*arguments.items(), *made):
                if value is not None:
                    self._found.setdefault(value, f"{name}{i}")
        for step in plan.steps:
            for name in step.call.function.changed[1:]:
                self._found[step.call.arrays[name]] = f"{self._found[step.param]}_{name}"

    def __getitem__(self, value: Value) -> str:
        """Return the name of a value in a step, or of the one whose memory it has."""
        return self._found[self._plan.same_as(value)]

    def argument(self, value: Value) -> str:
        """Return the name of an argument of the kernel."""
        is_plain = value in self.plain_strided()
        if value in self._plan.sources or is_plain:  # The name is that of its rows.
            return f"all_{self._found[value]}"
        return self._found[value]

    def stride(self, value: Value) -> str:
        """Return the name of what an argument moves by in each step."""
        return f"{self._found[value]}_stride"

    def plain_strided(self) -> list[Value]:
        """Return the arguments that may move and are read as a whole, such as constant parameters."""
        plan = self._plan
        rows = {argument for source in plan.sources.values() for argument in (source.rows, source.indices)}
        return [value for value in plan.strided if value not in rows]
