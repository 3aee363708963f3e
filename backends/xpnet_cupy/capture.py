"""Launches captured as a CUDA graph, so that the host launches all of them at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import cupy


def capture(stream: Any, work: Callable[[], object]) -> Any:
    """Return the graph of what `work` launches on `stream`, which must be the current one.

    Nothing may be compiled, loaded or read back during the capture, so `work` must have run before.
    """
    stream.begin_capture()
    try:
        work()
    except BaseException:
        with contextlib.suppress(Exception):  # It would report a consequence of the first error.
            stream.end_capture()
        raise
    return stream.end_capture()


class Captured:
    """Work that is launched, on the current stream, as one graph.

    Parameters
    ----------
    work : callable
        Runs twice here, on a stream and in memory of the graph's own; its results are dropped.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._stream, self._pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        self._work = work  # keeps the arrays that the graph reads
        cupy.cuda.get_current_stream().synchronize()  # It may still write what `work` reads.
        with self._stream, cupy.cuda.using_allocator(self._pool.malloc):
            work()
            self._stream.synchronize()
            self._graph = capture(self._stream, work)

    def __call__(self) -> None:
        """Launch the graph."""
        self._graph.launch()
