"""What errors of CUDA and CuPy mean to someone who asked for this backend, and what to do about them."""

from __future__ import annotations

from typing import NamedTuple

import cupy

from xpnet import BackendUnavailableError

OTHERWISE = "or choose 'numpy' or 'numba'"
# The oldest drivers that run a CUDA release, from the tables of the CUDA toolkit's release notes.
_DRIVERS = {12: "525", 13: "580"}


class _Failure(NamedTuple):
    """What an error means if its text has one of `signs`; `describe` fills in the braces."""

    signs: tuple[str, ...]
    cause: str
    remedy: str


# The first one that matches is reported.
_FAILURES = (
    _Failure(
        ("cudaErrorNoDevice", "CUDA_ERROR_NO_DEVICE"),
        "needs a CUDA device and found none ({text})",
        "make one visible (`nvidia-smi -L` lists them, CUDA_VISIBLE_DEVICES hides them)",
    ),
    _Failure(
        ("limit set to",),
        "may take no more of the device's memory ({text})",
        "raise the limit of CuPy's memory pool, which CUPY_GPU_MEMORY_LIMIT sets",
    ),
    _Failure(
        (
            "out of memory",
            "OutOfMemoryError",
            "cudaErrorMemoryAllocation",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "STATUS_ALLOC_FAILED",
            "STATUS_ALLOCATION_FAILED",
            # What cuBLAS reports if there is no memory for its handle.
            "CUBLAS_STATUS_NOT_INITIALIZED",
        ),
        "found no free memory on the device ({text})",
        "see in `nvidia-smi` which processes hold it; end one or wait for it (a process of JAX holds 75 % "
        "unless XLA_PYTHON_CLIENT_PREALLOCATE=false is set), take another device, as in 'cupy:1'",
    ),
    _Failure(
        ("MemoryError:", "Cannot allocate memory", "NVRTC_ERROR_OUT_OF_MEMORY"),
        "found no free memory on this machine ({text})",
        "end what takes the machine's memory",
    ),
    _Failure(
        (
            "cudaErrorDevicesUnavailable",
            "CUDA_ERROR_DEVICE_UNAVAILABLE",
            "cudaErrorDeviceAlreadyInUse",
            "cudaErrorMpsMaxClientsReached",
            "cudaErrorMpsMaxConnectionsReached",
        ),
        "cannot get the device: another process has it, or nobody may use it ({text})",
        "see in `nvidia-smi` which process has it and whether its compute mode is exclusive or prohibited; "
        "wait for that process, set it with `nvidia-smi -c DEFAULT`, take another device, as in 'cupy:1'",
    ),
    _Failure(
        (
            "cudaErrorECCUncorrectable",
            "CUDA_ERROR_ECC_UNCORRECTABLE",
            "cudaErrorNvlinkUncorrectable",
            "CUDA_ERROR_NVLINK_UNCORRECTABLE",
            "cudaErrorHardwareStackError",
            "CUDA_ERROR_HARDWARE_STACK_ERROR",
            "cudaErrorContained",
            "CUDA_ERROR_CONTAINED",
            "cudaErrorUnknown",
            "CUDA_ERROR_UNKNOWN",
            "cudaErrorSystemNotReady",
            "CUDA_ERROR_SYSTEM_NOT_READY",
            "cudaErrorSystemDriverMismatch",
            "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        ),
        "found the device or its driver out of order ({text})",
        "see what `nvidia-smi -q` says about it; reset it with `nvidia-smi -r`, restart the machine, "
        "take another device, as in 'cupy:1'",
    ),
    _Failure(
        (
            "cudaErrorIllegalAddress",
            "CUDA_ERROR_ILLEGAL_ADDRESS",
            "cudaErrorIllegalInstruction",
            "CUDA_ERROR_ILLEGAL_INSTRUCTION",
            "cudaErrorMisalignedAddress",
            "CUDA_ERROR_MISALIGNED_ADDRESS",
            "cudaErrorLaunchFailure",
            "CUDA_ERROR_LAUNCH_FAILED",
            "cudaErrorLaunchTimeout",
            "CUDA_ERROR_LAUNCH_TIMEOUT",
            "cudaErrorAssert",
            "CUDA_ERROR_ASSERT",
            "cudaErrorContextIsDestroyed",
            "CUDA_ERROR_CONTEXT_IS_DESTROYED",
        ),
        "lost the device to an earlier error of this process ({text})",
        "start a new process, in which the first error shows",
    ),
    _Failure(
        ("cudaErrorInitializationError", "CUDA_ERROR_NOT_INITIALIZED"),
        "cannot start CUDA in this process ({text})",
        "if it was forked from one that used CUDA, start it with multiprocessing's method 'spawn'",
    ),
    _Failure(
        (
            "DynamicLibNotFoundError",
            "Failure finding",
            "cannot open shared object file",
            "failed to load lib",
            "Failed to find CUDA headers",
        ),
        "misses a CUDA library ({text})",
        "install the libraries with `pip install 'cupy-cuda{major}x[ctk]'`",
    ),
    _Failure(
        (
            "cudaErrorNoKernelImageForDevice",
            "cudaErrorUnsupportedPtxVersion",
            "CUDA_ERROR_NO_BINARY_FOR_GPU",
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            "invalid value for --gpu-architecture",
        ),
        "is built for CUDA {major}, which does not serve this device ({text})",
        "replace CuPy: {other}",
    ),
)
_NO_DRIVER = _Failure(
    ("cudaErrorInsufficientDriver",),
    "needs a CUDA device and found none ({text})",
    "install an NVIDIA driver, version {oldest} or later",
)
_OLD_DRIVER = _Failure(
    ("cudaErrorInsufficientDriver",),
    "needs a driver for CUDA {major} ({text}: the driver serves CUDA {served})",
    "install an NVIDIA driver, version {oldest} or later, or {other}",
)
_UNKNOWN = _Failure(
    ("",),
    "cannot be used: {text}",
    "reinstall CuPy with `pip install --force-reinstall 'cupy-cuda{major}x[ctk]'`",
)


def explain(error: Exception) -> BackendUnavailableError:
    """Return what an error of CuPy means to someone who asked for this backend."""
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
    text = " ".join(f"{type(error).__name__}: {error}".split()).removeprefix("CUDARuntimeError: ")
    known = (_OLD_DRIVER if driver else _NO_DRIVER, *_FAILURES, _UNKNOWN)
    found = next(f for f in known if any(sign.lower() in text.lower() for sign in f.signs))
    major = built // 1000
    swap = "cupy12" if major == 13 else "cupy13"
    facts = {
        "text": text,
        "major": major,
        "oldest": _DRIVERS.get(major, f"for CUDA {major}"),
        "served": f"{driver // 1000}.{driver % 1000 // 10}",
        "other": f"`pip uninstall cupy-cuda{major}x` and `pip install 'xpnet[{swap}]'`",
    }
    remedy = f"{found.remedy.format_map(facts)}, {OTHERWISE}"
    return BackendUnavailableError("cupy", found.cause.format_map(facts), remedy)
