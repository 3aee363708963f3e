"""What kernels need beside their arguments, kept for each stream, because those of one stream take turns."""

from __future__ import annotations

import functools
import threading
from typing import Any

import cupy

Array = Any

# What NVIDIA recommends for devices of compute capability 9.0, in bytes; older ones do with 4 MiB.
_WORKSPACE = 32 * 2**20


class Scratch:
    """Memory for the kernels of one stream.

    Attributes
    ----------
    arrived : array, shape (1,), uint32
        How many blocks have come to the end of a loss; 0 between kernels.
    """

    def __init__(self) -> None:
        self.arrived: Array = cupy.zeros((1,), "uint32")

    @functools.cached_property
    def workspace(self) -> Array:
        """Bytes for cuBLAS."""
        return cupy.empty((_WORKSPACE,), "uint8")


_of_streams: dict[tuple[int, int, int], Scratch] = {}


def current() -> Scratch:
    """Return what belongs to the current stream of the current device."""
    runtime, stream = cupy.cuda.runtime, cupy.cuda.get_current_stream().ptr
    # A stream for each thread goes by the same name in all of them.
    thread = threading.get_ident() if stream == runtime.streamPerThread else 0
    key = runtime.getDevice(), stream, thread
    if key not in _of_streams:
        _of_streams[key] = Scratch()
    return _of_streams[key]


def drop(device: int, stream: int) -> None:
    """Let go of what belongs to a stream that is gone."""
    _of_streams.pop((device, stream, 0), None)
