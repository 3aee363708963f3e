"""Values of a captured step for the numbers that differ from call to call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from xpnet.replay.lower import Lowering, Task
from xpnet.replay.trace import Call, Running, Value
from xpnet_cupy import kernels, source
from xpnet_cupy.table import Numbers, Table


class Counts:
    """What stands for such numbers: the first tasks of a program make it of cells of its table.

    Parameters
    ----------
    table : Table
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: dict[Any, Value] = {}

    def step(self, lowering: Lowering, count: Running) -> Value:
        """Return what stands for the number of a step itself."""
        if count not in self._made:
            self._made[count] = self._add(lowering, count, "advance", kernels.advance, Value((1,), "int64"))
        return self._made[count]

    def of(self, lowering: Lowering, call: Call) -> dict[str, Value]:
        """Return what stands for the numbers of an optimizer's step, and for what follows from them."""
        found = {
            name: self._unbias(lowering, call, number)
            if number.function is None
            else self._rate(lowering, call, number, number.function)
            for name, number in call.running.items()
        }
        lr, decay = call.running.get("lr"), call.numbers.get("weight_decay")
        if lr is not None and lr.function is not None and decay and "kept" in source.varying(call.name):
            found["kept"] = self._rate(lowering, call, lr, _Kept(lr.function, decay))
        return found

    def _rate(
        self, lowering: Lowering, call: Call, number: Running, function: Callable[[int], float]
    ) -> Value:
        """Return what stands for a number that follows from a count; see `kernels.pick`."""
        dtype = call.arrays["param"].dtype
        key = dataclasses.replace(number, function=function), dtype
        if key not in self._made:
            options = {"advance": dtype.itemsize, "numbers": Numbers(function, dtype)}
            pick = functools.partial(kernels.pick, dtype=dtype)
            self._made[key] = self._add(lowering, number, "pick", pick, Value((1,), dtype), **options)
        return self._made[key]

    def _unbias(self, lowering: Lowering, call: Call, count: Running) -> Value:
        """Return what stands for the number of a step of Adam; see `kernels.count`."""
        betas = {name: call.numbers[name] for name in ("beta1", "beta2")}
        dtype = call.arrays["param"].dtype
        key = count, *betas.values(), dtype
        if key not in self._made:
            run = functools.partial(kernels.count, **betas, dtype=dtype)
            self._made[key] = self._add(lowering, count, "count", run, Value((2,), dtype))
        return self._made[key]

    def _add(
        self,
        lowering: Lowering,
        number: Running,
        name: str,
        run: Callable[..., Any],
        value: Value,
        *,
        advance: int = 1,
        numbers: Numbers | None = None,
    ) -> Value:
        cell = self._table.add(number.leaf, added=number.added, advance=advance, numbers=numbers)
        lowering.add_first(Task(name, run, (cell,), (value,)))
        return value


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What decay leaves of a parameter in a step, whose rate a function returns."""

    rate: Callable[[int], float]
    decay: float

    def __call__(self, step: int) -> float:
        return 1 - self.rate(step) * self.decay
