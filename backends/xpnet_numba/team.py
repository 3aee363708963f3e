"""Threads that help with programs, and wait without work when there are none."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy

from xpnet_numba.compiled import THREADS
from xpnet_numba.interpreter import COUNT, PROGRAM_WIDTH, SHARES, control_size, work

Array = Any

# How often a helper looks for work before it sleeps: some 0.3 ms, longer than Python takes between two steps,
# shorter than anybody would notice.
_PATIENCE = 300_000
LINE = 64
"""Bytes in a cache line."""
_NO_PROGRAM = numpy.zeros(PROGRAM_WIDTH, numpy.int64)


class Team:
    """The threads that share the programs of one dtype: the one that asks, and helpers up to Numba's number.

    Parameters
    ----------
    dtype : NumPy dtype
    """

    def __init__(self, dtype: Any) -> None:
        self._zero = dtype.type(0)
        self._asking = threading.Lock()
        self._control = numpy.zeros(0, numpy.int64)
        self._alarms: list[threading.Event] = []

    def carry_out(self, program: Array, *, helped: bool) -> None:
        """Carry out a program.

        Parameters
        ----------
        program : array
            See `interpreter.work`; the number of shares is filled in.
        helped : bool
            Whether helpers may take part; they do unless they are busy with another thread's program.
        """
        stages = program[COUNT]
        if helped and self._asking.acquire(blocking=False):
            try:
                self._call_helpers(stages)
                program[SHARES] = THREADS
                work(self._control, program, 0, 0, self._zero)
            finally:
                self._asking.release()
        else:
            program[SHARES] = 1
            work(numpy.zeros(control_size(stages, 1), numpy.int64), program, 0, 0, self._zero)

    def _call_helpers(self, stages: int) -> None:
        size = control_size(stages, THREADS)
        if size > self._control.size:
            # Helpers still on the old one find no program there, and sleep.
            self._control = numpy.zeros(2 * size, numpy.int64)
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
            work(self._control, _NO_PROGRAM, share, _PATIENCE, self._zero)
            alarm.clear()


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array, not filled, that begins with a cache line: vectors across two of them are slow."""
    dtype = numpy.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = numpy.empty(size + LINE, numpy.uint8)
    skipped = -raw.ctypes.data % LINE
    return raw[skipped : skipped + size].view(dtype).reshape(shape)
