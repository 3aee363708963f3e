"""`xp.compile`: the tasks of a recorded step, captured as a CUDA graph and launched in the step's place."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cupy

from xpnet.replay.lower import Tasks
from xpnet.replay.replayed import Replayed
from xpnet.replay.trace import Trace, Value
from xpnet_cupy import scratch
from xpnet_cupy.capture import capture
from xpnet_cupy.fusion import fuse
from xpnet_cupy.products import Products

Array = Any


class CuPyProgram:
    """A traced step on other arrays of the same shapes, see `xpnet.replay.program.Program`.

    A graph keeps the addresses of the arrays that it was captured with. So it is captured when arrays come
    for the second time in a row; until then the tasks are launched one by one. Indices, totals and numbers of
    steps, which differ from call to call, are read from a table on the device, and the graph itself moves on
    in the table: the host writes there only where it finds that something else comes next.

    Parameters
    ----------
    trace : Trace
    products : Products

    Attributes
    ----------
    captures : int
        How often a graph has been captured.
    """

    def __init__(self, trace: Trace, products: Products) -> None:
        self.captures = 0
        self._plan = plan = fuse(trace, products)
        self.changed = plan.changed
        self._given = trace.given
        self._arrays: dict[Value, Array] = {}  # the arguments
        self._copies: dict[Value, Array] = {}
        moving = {place.argument for place in plan.places}
        self._tasks = Tasks(plan.tasks, trace.arguments)
        self._values, self._places = self._tasks.values, self._tasks.places
        self._fixed = {i: self._places[value] for i, value in self._given.items() if i not in moving}
        made = {value for task in plan.tasks for value in task.results if value is not None}
        self._made = {self._places[value] for value in made.difference(self._given.values())}
        self._device = cupy.cuda.Device()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool()
        self._table = cupy.zeros((len(plan.places),), "int64")
        for i, place in enumerate(plan.places):
            self._values[self._places[place.number]] = self._table[i : i + 1]
        self._graph: Any = None
        self.forget()
        weakref.finalize(self, scratch.drop, self._device.id, self._stream.ptr)

    @property
    def nodes(self) -> int | None:
        """How many launches, copies and fills the graph has; None while there is no graph."""
        if self._graph is None:
            return None
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_size_t(0)
        status = driver.cuGraphGetNodes(ctypes.c_void_p(self._graph.graph), None, ctypes.byref(count))
        if status:
            raise RuntimeError(f"cuGraphGetNodes: status {status}")
        return count.value

    @property
    def device_bytes(self) -> int:
        """How much memory of the device its own arrays take."""
        return int(self._pool.total_bytes())

    def getter(self, value: Value) -> Callable[[], Array]:
        """See `xpnet.replay.program.Program`."""
        return functools.partial(self._array, self._plan.same.get(value, value))

    def _array(self, value: Value) -> Array:
        if value in self._arrays:
            return self._arrays[value]
        array = self._values[self._places[value]]
        if self._graph is None:
            return array
        if value not in self._copies:  # The next launch of the graph overwrites its own arrays.
            with self._device:
                self._copies[value] = array.copy()
        return self._copies[value]

    def forget(self) -> None:
        """See `xpnet.replay.program.Program`."""
        self._graph = None
        self._arrays.clear()
        self._copies.clear()
        for number in self._fixed.values():
            self._values[number] = None
        # What the table holds, as far as the host knows.
        self._held: list[int | None] = [None] * len(self._plan.places)

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """See `xpnet.replay.program.Program`."""
        with self._device:
            if not self.captures:
                self._warm_up(leaves)
                self._bind(leaves)
                self._graph = self._capture()
            elif any(i in self._fixed and not self._has(self._fixed[i], leaves[i]) for i in moved):
                self._graph = None
                self._bind(leaves)
            elif self._graph is None:
                self._graph = self._capture()
            for i in moved:
                self._arrays[self._given[i]] = leaves[i]
            self._copies.clear()
            self._write_places(leaves)
            if self._graph is None:
                self._tasks.run()
            else:
                self._graph.launch()

    def _has(self, number: int, array: Array) -> bool:
        """Return whether a value lies where this array does."""
        bound = self._values[number]
        return bound is not None and bound.data.ptr == array.data.ptr

    def _bind(self, values: list[Any]) -> None:
        for i, number in self._fixed.items():
            self._values[number] = values[i]

    def _write_places(self, values: list[Any]) -> None:
        for i, place in enumerate(self._plan.places):
            value = values[place.argument]
            wanted = place.added + (value.data.ptr if place.argument in self._given else value)
            if self._held[i] != wanted:
                self._table[i] = wanted
            self._held[i] = wanted + place.advance

    def _warm_up(self, values: list[Any]) -> None:
        """Launch each task once on copies, so that nothing is compiled or loaded in a capture."""
        copies = [
            value.copy() if self._given.get(i) in self.changed else value for i, value in enumerate(values)
        ]
        self._bind(copies)
        self._write_places(copies)
        with self._on_own_stream():
            self._tasks.run()
            self._stream.synchronize()
        self.forget()

    def _capture(self) -> Any:
        with self._on_own_stream():
            graph = capture(self._stream, self._tasks.run)
        self.captures += 1
        return graph

    @contextlib.contextmanager
    def _on_own_stream(self) -> Iterator[None]:
        """Work on a stream that can capture, with memory that nobody else reuses."""
        # What came before on the caller's stream may still use the arrays, or the memory of the graph before.
        cupy.cuda.get_current_stream().synchronize()
        for number in self._made:
            self._values[number] = None
        with self._stream, cupy.cuda.using_allocator(self._pool.malloc):
            yield


def replayed(step: Any, products: Products) -> Replayed:
    """Return a step that is replaced by graphs of what it does."""
    return Replayed(step, functools.partial(CuPyProgram, products=products))
