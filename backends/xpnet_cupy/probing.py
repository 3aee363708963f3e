"""Finding out whether CuPy works on this machine and, where it does not, what to do about it."""

from __future__ import annotations

from typing import Any

import cupy
import numpy

from xpnet import BackendUnavailableError
from xpnet_cupy import kernels

# The oldest drivers that run a CUDA release, from the tables of the CUDA toolkit's release notes.
_DRIVERS = {12: "525", 13: "580"}
_OTHERWISE = "or choose 'numpy' or 'numba'"
_NO_LIBRARY = (
    "DynamicLibNotFoundError",
    "cannot open shared object file",
    "failed to load lib",
    "Failed to find CUDA headers",
)
_NO_BINARY = (
    "cudaErrorNoKernelImageForDevice",
    "cudaErrorUnsupportedPtxVersion",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    "invalid value for --gpu-architecture",
)


def probe(device: Any) -> None:
    """Allocate on `device`, run a matrix product and a kernel of our own there, and look at the numbers.

    Raises
    ------
    BackendUnavailableError
        If any of that fails.
    """
    try:
        with device:
            x = cupy.asarray([[-3.0, 1.0], [1.0, 2.0]], dtype=cupy.float32)
            found = cupy.asnumpy(kernels.relu(cupy.matmul(x, x) - x))
    except Exception as e:
        raise explain(e) from e
    expected = numpy.asarray([[13.0, 0.0], [0.0, 3.0]], dtype=numpy.float32)
    if not numpy.array_equal(found, expected):
        cause = f"computes wrongly on {device}: {found.tolist()} instead of {expected.tolist()}"
        raise BackendUnavailableError("cupy", cause, f"reinstall CuPy, {_OTHERWISE}")


def count_devices() -> int:
    """Return how many CUDA devices there are, which is at least one.

    Raises
    ------
    BackendUnavailableError
        If there is none, or no driver.
    """
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as e:
        raise explain(e) from e


def explain(error: Exception) -> BackendUnavailableError:
    """Return what an error of CuPy means for a person who asked for this backend."""
    runtime = cupy.cuda.runtime
    return describe(error, built=runtime.runtimeGetVersion(), driver=runtime.driverGetVersion())


def describe(error: Exception, *, built: int, driver: int) -> BackendUnavailableError:
    """Return what `error` means, given two versions in CUDA's own form, 13020 for 13.2.

    Parameters
    ----------
    error : Exception
    built : int
        The CUDA that CuPy was built for.
    driver : int
        The newest CUDA that the driver serves; 0 if there is no driver.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    text = text.removeprefix("CUDARuntimeError: ")
    major = built // 1000
    swap = "cupy12" if major == 13 else "cupy13"
    other = f"`pip uninstall cupy-cuda{major}x` and `pip install 'xpnet[{swap}]'`"
    if "cudaErrorInsufficientDriver" in text and driver == 0:
        cause = f"needs a CUDA device and found none ({text})"
        remedy = f"install an NVIDIA driver, version {_oldest(major)} or later"
    elif "cudaErrorInsufficientDriver" in text:
        served = f"the driver serves CUDA {driver // 1000}.{driver % 1000 // 10}"
        cause = f"needs a driver for CUDA {major} ({text}: {served})"
        remedy = f"install an NVIDIA driver, version {_oldest(major)} or later, or {other}"
    elif "cudaErrorNoDevice" in text:
        cause = f"needs a CUDA device and found none ({text})"
        remedy = "make one visible (`nvidia-smi -L` lists them, CUDA_VISIBLE_DEVICES hides them)"
    elif any(sign in text for sign in _NO_LIBRARY):
        cause = f"misses a CUDA library ({text})"
        remedy = f"install the libraries with `pip install 'cupy-cuda{major}x[ctk]'`"
    elif any(sign in text for sign in _NO_BINARY):
        cause = f"is built for CUDA {major}, which does not serve this device ({text})"
        remedy = f"replace CuPy: {other}"
    else:
        cause = f"cannot be used: {text}"
        remedy = f"reinstall CuPy with `pip install --force-reinstall 'xpnet[cupy{major}]'`"
    return BackendUnavailableError("cupy", cause, f"{remedy}, {_OTHERWISE}")


def _oldest(major: int) -> str:
    return _DRIVERS.get(major, f"for CUDA {major}")
