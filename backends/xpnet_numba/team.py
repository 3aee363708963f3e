"""Threads that help with programs, and wait without work when there are none."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from typing import Any, NamedTuple

import numpy

from xpnet_numba import forks, layout, machine_code

Array = Any

PARTS = 16
"""Into how many parts the rows of a compiled step are divided, however many threads there are."""
# How often a helper looks for work before it sleeps: some 0.3 ms, longer than Python takes between two steps,
# shorter than anybody would notice.
_PATIENCE = 300_000
LINE = 64
"""Bytes in a cache line."""


def _count_threads() -> int:
    """Return what Numba takes for the number of threads."""
    try:
        return max(1, int(os.environ["NUMBA_NUM_THREADS"]))
    except (KeyError, ValueError):
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return max(1, len(usable))


THREADS = min(_count_threads(), PARTS)
"""How many share a compiled step."""


class Placed(NamedTuple):
    """An array, and where it begins in memory, so that nobody asks for that at every call."""

    array: Array
    address: int

    @classmethod
    def of(cls, array: Array) -> Placed:
        """Return an array with its address."""
        return cls(array, address(array))


class Team:
    """The threads that share the programs of one dtype: the one that asks, and helpers up to Numba's number.

    Parameters
    ----------
    dtype : NumPy dtype
    """

    def __init__(self, dtype: Any) -> None:
        self._work = machine_code.function("work", dtype, 4)
        self._begin()
        forks.in_child(self._begin)

    def _begin(self) -> None:
        """Have no helpers, and be free: those of the parent do not exist in a forked process."""
        self._asking = threading.Lock()
        self._control = Placed.of(numpy.zeros(0, numpy.int64))
        self._alarms: list[threading.Event] = []

    def carry_out(self, program: Placed, *, helped: bool) -> None:
        """Carry out a program.

        Parameters
        ----------
        program : Placed
            See `layout`; the number of shares is filled in.
        helped : bool
            Whether helpers may take part; they do unless they are busy with another thread's program. The
            result is the same, bit for bit.
        """
        stages = int(program.array[layout.COUNT])
        if helped and self._asking.acquire(blocking=False):
            try:
                self._call_helpers(stages)
                program.array[layout.SHARES] = THREADS
                self._work(self._control.address, program.address, 0, 0, 0.0)
            finally:
                self._asking.release()
        else:
            program.array[layout.SHARES] = 1
            control = numpy.zeros(layout.control_size(stages, 1), numpy.int64)
            self._work(address(control), program.address, 0, 0, 0.0)

    def _call_helpers(self, stages: int) -> None:
        size = layout.control_size(stages, THREADS)
        if size > self._control.array.size:
            # Helpers still on the old one find no program there, and sleep.
            self._control = Placed.of(numpy.zeros(2 * size, numpy.int64))
        while len(self._alarms) < THREADS - 1:
            self._alarms.append(threading.Event())
            share = len(self._alarms)
            threading.Thread(target=self._help, args=(share, self._alarms[-1]), daemon=True).start()
        for alarm in self._alarms:
            if not alarm.is_set():
                alarm.set()

    def _help(self, share: int, alarm: threading.Event) -> None:
        while True:
            alarm.wait()
            control = self._control  # whose array must be there for as long as this one looks at it
            self._work(control.address, 0, share, _PATIENCE, 0.0)
            alarm.clear()


def address(array: Array) -> int:
    """Return where an array that is stored row by row begins in memory."""
    try:  # In a third of the time.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # It cannot be written, or is empty.
        return array.__array_interface__["data"][0]


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array, not filled, that begins with a cache line: vectors across two of them are slow."""
    dtype = numpy.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = numpy.empty(size + LINE, numpy.uint8)
    skipped = -raw.ctypes.data % LINE
    return raw[skipped : skipped + size].view(dtype).reshape(shape)
