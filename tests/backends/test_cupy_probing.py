"""What a probe does, and which errors of CUDA and CuPy mean what; no GPU is needed."""

import contextlib

import cuda_on_host
import numpy
import pytest

from xpnet import BackendUnavailableError


@pytest.fixture
def failures(package):
    return package.failures


@pytest.mark.parametrize(
    ("error", "driver", "cause", "remedy"),
    [
        ("cudaErrorInsufficientDriver: old", 0, "found none (", "driver, version 580 or later"),
        ("cudaErrorInsufficientDriver: old", 12040, "serves CUDA 12.4", "'xpnet[cupy12]'"),
        ("cudaErrorNoDevice: none", 13000, "found none (", "CUDA_VISIBLE_DEVICES"),
        ("CuPy failed to load libnvrtc.so.13: x", 13000, "misses", "'cupy-cuda13x[ctk]'"),
        ("Failed to find CUDA headers: x", 13000, "misses", "[ctk]"),
        ("libcublas.so.13: cannot open shared object file", 13000, "misses", "[ctk]"),
        ("Failure finding libcublasLt.so.13: No such file", 13000, "misses", "[ctk]"),
        ("cudaErrorNoKernelImageForDevice: no", 13000, "built for CUDA 13", "'xpnet[cupy12]'"),
        ("something else", 13000, "cannot be used: ", "--force-reinstall 'cupy-cuda13x[ctk]'"),
    ],
)
def test_each_known_failure_has_its_own_text_and_a_remedy(error, driver, cause, remedy, failures):
    found = failures.describe(RuntimeError(error), built=13020, driver=driver)
    assert cause in found.cause
    assert error in found.cause
    assert remedy in found.remedy
    assert found.remedy.endswith("or choose 'numpy' or 'numba'")


@pytest.mark.parametrize(
    "error",
    [
        "cudaErrorMemoryAllocation: out of memory",
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "Out of memory allocating 512 bytes (allocated so far: 0 bytes).",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_NOT_INITIALIZED",
        "CURAND_STATUS_ALLOCATION_FAILED",
        "CUSOLVER_STATUS_ALLOC_FAILED",
    ],
)
def test_exhausted_memory_is_the_cause_and_not_cupy(error, failures):
    found = failures.describe(RuntimeError(error), built=13020, driver=13000)
    assert found.cause == f"found no free memory on the device (RuntimeError: {error})"
    assert "`nvidia-smi`" in found.remedy
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in found.remedy
    assert "reinstall" not in found.remedy
    assert found.remedy.endswith("or choose 'numpy' or 'numba'")


def test_cupys_own_errors_of_memory_name_what_is_exhausted(cupy, failures):
    def cause(error):
        return failures.describe(error, built=13020, driver=13000).cause

    short = cupy.cuda.memory.OutOfMemoryError
    assert cause(short(512, 0)).startswith("found no free memory on the device")
    assert cause(short(512, 0, 256)).startswith("may take no more of the device's memory")
    assert cause(cupy.cuda.runtime.CUDARuntimeError(2)).startswith("found no free memory on the device")
    assert cause(MemoryError()).startswith("found no free memory on this machine")


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        ("cudaErrorDevicesUnavailable: busy", "another process has it", "compute mode"),
        ("CUDA_ERROR_DEVICE_UNAVAILABLE: busy", "another process has it", "compute mode"),
        ("cudaErrorDeviceAlreadyInUse: exclusive", "another process has it", "compute mode"),
        ("cudaErrorECCUncorrectable: uncorrectable ECC error", "out of order", "restart the machine"),
        ("cudaErrorUnknown: unknown error", "out of order", "restart the machine"),
        ("cudaErrorSystemDriverMismatch: mismatch", "out of order", "restart the machine"),
        ("cudaErrorIllegalAddress: illegal", "earlier error of this process", "a new process"),
        ("CUDA_ERROR_LAUNCH_FAILED: failed", "earlier error of this process", "a new process"),
        ("cudaErrorInitializationError: initialization error", "cannot start CUDA", "'spawn'"),
    ],
)
def test_a_device_that_is_taken_or_lost_is_the_cause_and_not_cupy(error, cause, remedy, failures):
    found = failures.describe(RuntimeError(error), built=13020, driver=13000)
    assert cause in found.cause
    assert error in found.cause
    assert remedy in found.remedy
    assert "reinstall" not in found.remedy


def test_a_wrong_value_fails_the_probe(package, kernels_on_host, monkeypatch):
    monkeypatch.setattr(package.dense.Dense, "linear", lambda self, x, weight, bias: x)
    with pytest.raises(BackendUnavailableError, match="computes wrongly on"):
        package.probing.probe(contextlib.nullcontext())


def test_the_probe_needs_one_kernel_and_not_cublas(package, library, monkeypatch):
    kernel, symbols = cuda_on_host.kernel_of(library), []
    monkeypatch.setattr(package.kernels, "_kernel", lambda symbol: symbols.append(symbol) or kernel(symbol))
    monkeypatch.setattr(package.blas, "_ask", None)
    monkeypatch.setattr(package.cupy, "matmul", None)
    package.probing.probe(contextlib.nullcontext())
    assert symbols == ["linear<Identity, float>"]  # the last layer of any network has it too


def test_a_cublas_that_cannot_start_is_explained_by_the_first_product(package, monkeypatch):
    def fail(name, *args):
        raise RuntimeError(f"cuBLAS: {name} failed: CUBLAS_STATUS_ALLOC_FAILED")

    monkeypatch.setattr(package.blas, "_ask", fail)
    x = package.cupy.asarray(numpy.eye(3))
    with pytest.raises(BackendUnavailableError, match=r"found no free memory on the device .*cublasCreate"):
        package.blas.multiply(x, x)
