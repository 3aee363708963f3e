"""A traced step as tasks that are captured as a CUDA graph and launched in its place: see `programs`."""

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
from xpnet.replay.program import Loop, scan_by_runs
from xpnet.replay.trace import NotReplayableError, Trace, Value
from xpnet_cupy import scratch
from xpnet_cupy.capture import capture
from xpnet_cupy.dense import Dense
from xpnet_cupy.fusion import Fusion
from xpnet_cupy.sums import Sum

Array = Any


class CuPyProgram:
    """A traced step on other arrays of the same shapes, see `xpnet.replay.program.Program`.

    A graph keeps the addresses of the arrays that it was captured with. So it is captured when the same
    arrays come twice in a row; until then the tasks are launched one by one. Indices, totals and counts,
    which differ from call to call, are read from a table on the device.

    A sum over a group of processes is captured with the rest. NCCL requires that all ranks capture it in the
    same call. So a program with such a sum compares the identity of arrays, which is alike on all ranks, and
    not their addresses.

    Parameters
    ----------
    trace : Trace
    dense : Dense

    Attributes
    ----------
    tasks : list of Task
    captures : int
        How often a graph has been captured.
    reason : str
        Why scans are not one kernel, see `programs`.
    note : str
        What the report says about that: a fault of the device. Empty if there is none.

    Raises
    ------
    NotReplayableError
        If the sum over the group is one that a graph cannot hold.
    """

    def __init__(self, trace: Trace, dense: Dense) -> None:
        self._sums = [call.run for call in trace.calls if isinstance(call.run, Sum)]
        for reason in (found.reason for found in self._sums if found.reason):
            raise NotReplayableError(reason)
        fusion = Fusion(trace, dense)
        self.tasks, self._table, self._totals = fusion.tasks, fusion.table, fusion.totals
        self.changed = trace.changed | {*fusion.totals.values()}
        self.captures, self.reason, self.note = 0, "", ""
        self._given = trace.given
        self._arrays: dict[Value, Array] = {}  # the arguments
        self._copies: dict[Value, Array] = {}
        self._staged: dict[int, Array] = {}  # by place: what differs from step to step of a scan
        tasks = Tasks(self.tasks, trace.arguments)
        self._launch_each, self._values, self._slots = tasks.run, tasks.values, tasks.slots
        in_table = self._table.leaves
        self._fixed = {i: self._slots[value] for i, value in self._given.items() if i not in in_table}
        made = {value for task in self.tasks for value in task.results if value is not None}
        self._made = {self._slots[value] for value in made.difference(self._given.values())}
        self._device = cupy.cuda.Device()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool()
        self._table.allocate(self._values, self._slots)
        self._graph: Any = None
        self._was_quiet = self._is_quiet
        weakref.finalize(self, scratch.drop, self._device.id, self._stream.ptr)

    @property
    def _is_quiet(self) -> bool:
        """Whether sums are left out; a graph that was captured so has none."""
        return any(found.is_quiet for found in self._sums)

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
        return functools.partial(self._array, self._totals.get(value, value))

    def _array(self, value: Value) -> Array:
        if value in self._arrays:
            return self._arrays[value]
        array = self._values[self._slots[value]]
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
        self._staged.clear()
        self._table.forget()
        for slot in self._fixed.values():
            self._values[slot] = None

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """See `xpnet.replay.program.Program`."""
        with self._device:
            if not self.captures:
                self._warm_up(leaves)
                self._bind(leaves)
                self._graph = self._capture()
            elif self._must_bind(leaves, moved):
                self._graph = None
                self._was_quiet = self._is_quiet
                self._bind(leaves)
            elif self._graph is None:
                self._graph = self._capture()
            for i in moved:
                self._arrays[self._given[i]] = leaves[i]
            self._copies.clear()
            self._table.write(leaves)
            if self._graph is None:
                self._launch_each()
            else:
                self._graph.launch()

    def scan(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        """See `xpnet.replay.program.Program`.

        If the table holds all that differs from step to step, the graph is launched again and again, and
        Python does nothing else in between. Other arrays are copied to where the graph reads them.
        """
        if any(self._given[place] in self.changed for place in loop.rows):
            scan_by_runs(self, leaves, moved, loop)
            return
        in_place = {value: total.leaf for value, total in self._totals.items()}
        made = {place: self.getter(v) for place, v in loop.carried.items() if in_place.get(v) != place}
        copied = [place for place in (*made, *loop.rows) if place in self._fixed]
        added = loop.counted | {place: rows.strides[0] for place, rows in loop.rows.items()}
        first, done = [*leaves], 0
        while done < loop.steps:
            _go_to(done, leaves, first, loop)
            if done:
                for place, get in made.items():
                    leaves[place] = get()
            self._copy(leaves, copied)
            self.run(leaves, [*made, *copied] if done else moved)
            done += 1
            if self._graph is not None and not made and not copied:
                more = min(self._table.ahead(leaves, added), loop.steps - done)
                self._launch_again(more)
                done += more
        _go_to(done - 1, leaves, first, loop)

    def _copy(self, leaves: list[Any], places: list[int]) -> None:
        """Replace arrays by copies that are in the same place each time."""
        with self._device:
            for place in places:
                if place not in self._staged:
                    self._staged[place] = cupy.empty(leaves[place].shape, leaves[place].dtype)
                self._staged[place][...] = leaves[place]
                leaves[place] = self._staged[place]

    def _launch_again(self, times: int) -> None:
        with self._device:
            for _ in range(times):
                self._graph.launch()
        self._table.skip(times)

    def _must_bind(self, leaves: list[Any], moved: list[int]) -> bool:
        """Return whether the graph, if there is one, is of other arrays, or of a rehearsal without sums."""
        if self._was_quiet != self._is_quiet:
            return True
        return any(i in self._fixed and not self._has(self._fixed[i], leaves[i]) for i in moved)

    def _has(self, slot: int, array: Array) -> bool:
        """Return whether a value lies where this array does."""
        bound = self._values[slot]
        if bound is array or self._sums:
            return bound is array
        return bound is not None and bound.data.ptr == array.data.ptr

    def _bind(self, leaves: list[Any]) -> None:
        for i, slot in self._fixed.items():
            self._values[slot] = leaves[i]

    def _warm_up(self, leaves: list[Any]) -> None:
        """Launch each task once on copies, so that nothing is compiled or loaded during a capture."""
        changed = {value.leaf for value in self.changed}
        copies = [leaf.copy() if i in changed else leaf for i, leaf in enumerate(leaves)]
        self._bind(copies)
        self._table.write(copies)
        with self._on_own_stream():
            self._launch_each()
            self._stream.synchronize()
        self.forget()

    def _capture(self) -> Any:
        with self._on_own_stream():
            graph = capture(self._stream, self._launch_each)
        self.captures += 1
        return graph

    @contextlib.contextmanager
    def _on_own_stream(self) -> Iterator[None]:
        """Work on a stream that can capture, with memory that nobody else reuses."""
        # Earlier work on the caller's stream may still use the arrays, or the memory of the previous graph.
        cupy.cuda.get_current_stream().synchronize()
        for slot in self._made:
            self._values[slot] = None
        with self._stream, cupy.cuda.using_allocator(self._pool.malloc):
            yield


def _go_to(step: int, leaves: list[Any], first: list[Any], loop: Loop) -> None:
    """Make of the leaves of the first step those of another; what changes in place stays."""
    for place, added in loop.counted.items():
        leaves[place] = first[place] + step * added
    for place, rows in loop.rows.items():
        leaves[place] = rows[step, ...]
