"""Memory that kernels need beside their arguments: one for each stream, which runs its kernels in turn."""

from __future__ import annotations

import functools
import threading
from typing import Any

import cupy

Array = Any

# What NVIDIA recommends for devices of compute capability 9.0, in bytes; 4 MiB are enough for older ones.
_WORKSPACE = 32 * 2**20


class Scratch:
    """Memory for the kernels of one stream.

    Attributes
    ----------
    arrived : array, shape (1,), uint32
        How many blocks have reached the end of a loss; 0 between kernels.
    """

    def __init__(self) -> None:
        self.arrived: Array = cupy.zeros((1,), "uint32")

    @functools.cached_property
    def workspace(self) -> Array:
        """Bytes for cuBLAS."""
        return cupy.empty((_WORKSPACE,), "uint8")


_of_streams: dict[tuple[int, int, int], Scratch] = {}


def current() -> Scratch:
    """Return the memory of the current stream of the current device."""
    runtime, stream = cupy.cuda.runtime, cupy.cuda.get_current_stream().ptr
    # The stream of a thread has the same handle in all threads.
    thread = threading.get_ident() if stream == runtime.streamPerThread else 0
    key = runtime.getDevice(), stream, thread
    if key not in _of_streams:
        _of_streams[key] = Scratch()
    return _of_streams[key]


def drop(device: int, stream: int) -> None:
    """Release the memory of a stream that no longer exists."""
    _of_streams.pop((device, stream, 0), None)
