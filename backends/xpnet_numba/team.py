"""Threads that help with programs, and sleep when there are none."""

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
"""Into how many parts the rows of a compiled step are divided, whatever the number of threads."""
# Spins before a helper sleeps: about 0.3 ms, which is longer than Python takes between two steps.
_PATIENCE = 300_000
LINE = 64
"""Bytes in a cache line."""


def _count_threads() -> int:
    """Return how many threads Numba would use."""
    try:
        return max(1, int(os.environ["NUMBA_NUM_THREADS"]))
    except (KeyError, ValueError):
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return max(1, len(usable))


THREADS = min(_count_threads(), PARTS)
"""How many threads share a compiled step."""


class Placed(NamedTuple):
    """An array and its address, which takes time to look up."""

    array: Array
    address: int

    @classmethod
    def of(cls, array: Array) -> Placed:
        """Return an array with its address."""
        return cls(array, address(array))


class Team:
    """The threads that share the programs of one dtype: the caller, and helpers up to Numba's number.

    Parameters
    ----------
    dtype : NumPy dtype
    """

    def __init__(self, dtype: Any) -> None:
        self._work = machine_code.function("work", dtype, 4)
        self._begin()
        forks.in_child(self._begin)

    def _begin(self) -> None:
        """Start without helpers: a forked process has none of its parent's threads."""
        self._asking = threading.Lock()
        self._control = Placed.of(numpy.zeros(0, numpy.int64))
        self._alarms: list[threading.Event] = []

    def carry_out(self, program: Placed, *, helped: bool) -> None:
        """Carry out a program.

        Parameters
        ----------
        program : Placed
            See `layout`; the number of members is filled in.
        helped : bool
            Whether helpers may take part. They do unless they are busy with another thread's program; the
            results are the same, bit for bit.
        """
        stages = int(program.array[layout.COUNT])
        if helped and self._asking.acquire(blocking=False):
            try:
                self._call_helpers(stages)
                program.array[layout.MEMBERS] = THREADS
                self._work(self._control.address, program.address, 0, 0, 0.0)
            finally:
                self._asking.release()
        else:
            program.array[layout.MEMBERS] = 1
            control = numpy.zeros(layout.control_size(stages, 1), numpy.int64)
            self._work(address(control), program.address, 0, 0, 0.0)

    def _call_helpers(self, stages: int) -> None:
        size = layout.control_size(stages, THREADS)
        if size > self._control.array.size:
            # Helpers that still watch the old one find no program there, and sleep.
            self._control = Placed.of(numpy.zeros(2 * size, numpy.int64))
        while len(self._alarms) < THREADS - 1:
            self._alarms.append(threading.Event())
            member = len(self._alarms)
            threading.Thread(target=self._help, args=(member, self._alarms[-1]), daemon=True).start()
        for alarm in self._alarms:
            if not alarm.is_set():
                alarm.set()

    def _help(self, member: int, alarm: threading.Event) -> None:
        while True:
            alarm.wait()
            control = self._control  # keeps the array alive while this thread reads it
            self._work(control.address, 0, member, _PATIENCE, 0.0)
            alarm.clear()


def address(array: Array) -> int:
    """Return the address of an array that is stored row by row."""
    try:  # a third of the time
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # read-only, or empty
        return array.__array_interface__["data"][0]


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an empty array that begins at a cache line: vectors that cross two are slow."""
    dtype = numpy.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = numpy.empty(size + LINE, numpy.uint8)
    skipped = -raw.ctypes.data % LINE
    return raw[skipped : skipped + size].view(dtype).reshape(shape)
