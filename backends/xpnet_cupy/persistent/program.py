"""Programs whose scans are one kernel each; the graph of a step does what that kernel cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy
import numpy

from xpnet.errors import shortened
from xpnet.replay.program import Loop
from xpnet.replay.trace import Trace, Value
from xpnet_cupy.graphs import CuPyProgram
from xpnet_cupy.persistent.fit import NOTE, Size
from xpnet_cupy.persistent.kernel import Kernel
from xpnet_cupy.persistent.plan import Plan
from xpnet_cupy.persistent.series import series

Array = Any

# Bytes: the kernel reads several neighbours of a parameter at once.
_ALIGNMENT = 16
_ONE_STEP = Loop(1, {}, {}, {})


class PersistentProgram:
    """A traced step whose scans are one kernel, see `xpnet.replay.program.Program`.

    A step by itself is a scan of one, so the trial of the program tries the kernel. If that cannot be
    compiled or launched, the graph takes its place for good, and `note` says why. The graph also takes scans
    that the kernel cannot: of rows that are no multiple of their elements apart, or with results that are
    not made in place.

    Parameters
    ----------
    trace : Trace
    plan : Plan
    size : Size
    graph : CuPyProgram
        Of the same trace.
    reason : str
        Why it is the faster one.

    Attributes
    ----------
    reason : str
    note : str
        See `CuPyProgram`.
    """

    def __init__(self, trace: Trace, plan: Plan, size: Size, graph: CuPyProgram, *, reason: str = "") -> None:
        self._plan, self._size, self._graph = plan, size, graph
        self.reason, self.note = reason, ""
        self.changed = trace.changed | {*plan.totals.values()}
        self._given = trace.given
        self._in_place = {value: total.leaf for value, total in plan.totals.items()}
        self._fixed = {value.leaf for value in plan.arguments} - {value.leaf for value in plan.strided}
        gathered = {value for found in plan.sources.values() for value in (found.rows, found.indices)}
        self._aligned = [
            value.leaf
            for value in plan.arguments
            if value.shape and value.leaf is not None and value not in gathered
        ]
        self._device = cupy.cuda.Device()
        self._kernel: Kernel | None = None
        self._has_run = False
        self._arrays: dict[Value, Array] = {}  # the arguments
        self._by_graph = False  # whether the last steps were

    @property
    def is_kernel(self) -> bool:
        """Whether scans are launches of the kernel, unless they are of a form that it does not take."""
        return not self.note

    @property
    def nodes(self) -> int | None:
        """How many launches a step has: none of its own by the kernel; see `CuPyProgram.nodes`."""
        return 0 if self.is_kernel else self._graph.nodes

    @property
    def captures(self) -> int:
        """See `CuPyProgram`."""
        return self._graph.captures

    @property
    def device_bytes(self) -> int:
        """How much memory of the device its own arrays take, besides those of the pool that all use."""
        return self._graph.device_bytes

    def getter(self, value: Value) -> Callable[[], Array]:
        """See `xpnet.replay.program.Program`."""
        by_graph, kept = self._graph.getter(value), self._plan.totals.get(value, value)
        return lambda: by_graph() if self._by_graph else self._arrays[kept]

    def forget(self) -> None:
        """See `xpnet.replay.program.Program`."""
        self._arrays.clear()
        self._graph.forget()
        self._by_graph = False

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """See `xpnet.replay.program.Program`."""
        self.scan(leaves, moved, _ONE_STEP)

    def scan(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        """See `xpnet.replay.program.Program`."""
        for place in moved:
            self._arrays[self._given[place]] = leaves[place]
        if self.is_kernel and self._takes(leaves, loop):
            # A schedule may raise an error here, which is none of the kernel's.
            numbers = series(self._plan.numbers, leaves, loop, self._plan.dtype)
            try:
                self._launch(leaves, loop, numbers)
                return
            except Exception as e:
                if self._has_run:
                    raise
                # Nothing was launched, so the arrays are as they were.
                self.note = NOTE.format(f"{type(e).__name__}: {shortened(str(e), 150)}")
                self._kernel = None
        self._scan_by_graph(leaves, moved, loop)

    def _takes(self, leaves: list[Any], loop: Loop) -> bool:
        """Return whether the kernel can do all steps of a loop on these leaves."""
        if any(leaves[place].data.ptr % _ALIGNMENT for place in self._aligned):
            return False
        if loop.steps == 1:
            return True
        return (
            self._fixed.isdisjoint(loop.rows)
            and all(
                rows.strides[0] % (_ALIGNMENT if place in self._aligned else rows.dtype.itemsize) == 0
                for place, rows in loop.rows.items()
            )
            and all(self._in_place.get(value) == place for place, value in loop.carried.items())
            and all(loop.counted.get(count.leaf) == 1 for count in self._plan.counts)
        )

    def _launch(self, leaves: list[Any], loop: Loop, numbers: numpy.ndarray) -> None:
        plan = self._plan
        strides = {
            self._given[place]: rows.strides[0] // rows.dtype.itemsize for place, rows in loop.rows.items()
        }
        with self._device:
            if self._kernel is None:
                self._kernel = Kernel(plan, self._size)
            arrays = [leaves[value.leaf] for value in plan.arguments if value.leaf is not None]
            self._kernel.scan(
                arrays, strides, numbers, [count.of(leaves) for count in plan.counts], loop.steps
            )
        if self._by_graph:  # It holds arrays of its last run.
            self._graph.forget()
        self._by_graph, self._has_run = False, True
        for place, added in loop.counted.items():
            leaves[place] += added * (loop.steps - 1)

    def _scan_by_graph(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        self._graph.scan(leaves, moved if self._by_graph else [*self._given], loop)
        self._by_graph = True
