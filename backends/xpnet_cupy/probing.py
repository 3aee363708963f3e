"""Whether CuPy works on this machine."""

from __future__ import annotations

from typing import Any

import cupy
import numpy

from xpnet import BackendUnavailableError
from xpnet_cupy import failures
from xpnet_cupy.dense import Dense
from xpnet_cupy.failures import OTHERWISE


def probe(device: Any) -> None:
    """Allocate on `device`, compute a layer there, and check the numbers.

    cuBLAS is not started, because many trainings never need it; `blas` explains why it fails to start.

    Raises
    ------
    BackendUnavailableError
        If any of that fails.
    """
    try:
        with device:
            x = cupy.asarray([[-3.0, 1.0], [1.0, 2.0]], dtype=cupy.float32)
            bias = cupy.asarray([0.5, -2.0], dtype=cupy.float32)
            found = cupy.asnumpy(Dense(tf32=False).linear(x, x, bias))
    except Exception as e:
        raise failures.explain(e) from e
    expected = numpy.asarray([[10.5, -3.0], [-0.5, 3.0]], dtype=numpy.float32)
    if not numpy.array_equal(found, expected):
        cause = f"computes wrongly on {device}: {found.tolist()} instead of {expected.tolist()}"
        raise BackendUnavailableError("cupy", cause, f"reinstall CuPy, {OTHERWISE}")


def count_devices() -> int:
    """Return the number of CUDA devices, which is at least 1.

    Raises
    ------
    BackendUnavailableError
        If there is none, or no driver.
    """
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as e:
        raise failures.explain(e) from e
