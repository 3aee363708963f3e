"""Matrix products by cuBLAS, with a handle of our own.

CuPy refuses to call cuBLAS while a stream captures, because cuBLAS may allocate memory then; our handle gets
its workspace in advance. cuBLAS stores matrices by columns, and a matrix stored by rows is its transpose by
columns: the product ``A B`` by rows is computed as ``B^T A^T``.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any, NamedTuple

import cupy
import numpy

from xpnet import BackendUnavailableError
from xpnet_cupy import failures, scratch

Array = Any

# From cublas_api.h.
_NO_TRANSPOSE, _TRANSPOSE = 0, 1
_DEFAULT_MATH, _TF32_MATH = 0, 3
_FUNCTIONS = {
    numpy.dtype("float32"): ("cublasSgemm_v2", ctypes.c_float),
    numpy.dtype("float64"): ("cublasDgemm_v2", ctypes.c_double),
}
_STATUS = {
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    3: "CUBLAS_STATUS_ALLOC_FAILED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    8: "CUBLAS_STATUS_ARCH_MISMATCH",
    11: "CUBLAS_STATUS_MAPPING_ERROR",
    13: "CUBLAS_STATUS_EXECUTION_FAILED",
    14: "CUBLAS_STATUS_INTERNAL_ERROR",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
}


# Held from the settings of a handle to its product: other threads may run between these calls.
_asking = threading.Lock()


class Gemm(NamedTuple):
    """The whole numbers of a call of gemm: which factors are transposed, sizes and leading dimensions."""

    trans_a: int
    trans_b: int
    m: int
    n: int
    k: int
    lda: int
    ldb: int
    ldc: int


def gemm(left: tuple[int, int], right: tuple[int, int], transposed: str) -> Gemm:
    """Return the call of gemm for the product of two matrices stored by rows.

    Its first factor, `A` in BLAS, is the right one.

    Parameters
    ----------
    left, right : tuple of int
        Shapes, as stored.
    transposed : {"", "left", "right"}
        Which one is transposed before they are multiplied.
    """
    rows, inner = left if transposed != "left" else left[::-1]
    columns = right[0] if transposed == "right" else right[1]
    return Gemm(
        trans_a=_TRANSPOSE if transposed == "right" else _NO_TRANSPOSE,
        trans_b=_TRANSPOSE if transposed == "left" else _NO_TRANSPOSE,
        m=columns,
        n=rows,
        k=inner,
        lda=right[1],
        ldb=left[1],
        ldc=columns,
    )


def multiply(left: Array, right: Array, *, transposed: str = "", tf32: bool = False) -> Array:
    """Return the product of two contiguous matrices of one dtype, on the current stream.

    Parameters
    ----------
    left, right : array, 2-D, float32 or float64
    transposed : {"", "left", "right"}
        Which one is transposed first.
    tf32 : bool
        Whether float32 factors may be rounded to TF32, which has 10 bits after the first.
    """
    call = gemm(left.shape, right.shape, transposed)
    out = cupy.empty((call.n, call.m), left.dtype)
    workspace = scratch.current().workspace
    name, scalar = _FUNCTIONS[left.dtype]
    m, n, k, lda, ldb, ldc = map(ctypes.c_int, call[2:])
    factors = _pointer(right.data.ptr), lda, _pointer(left.data.ptr), ldb
    one, zero = scalar(1), scalar(0)
    trans = ctypes.c_int(call.trans_a), ctypes.c_int(call.trans_b)
    result = _pointer(out.data.ptr), ldc
    with _asking:
        handle = _handle(cupy.cuda.runtime.getDevice())
        _ask("cublasSetStream_v2", handle, _pointer(cupy.cuda.get_current_stream().ptr))
        _ask("cublasSetWorkspace_v2", handle, _pointer(workspace.data.ptr), ctypes.c_size_t(workspace.nbytes))
        _ask("cublasSetMathMode", handle, ctypes.c_int(_TF32_MATH if tf32 else _DEFAULT_MATH))
        _ask(name, handle, *trans, m, n, k, ctypes.byref(one), *factors, ctypes.byref(zero), *result)
    return out


def check_tf32(device: Any) -> None:
    """Raise a `BackendUnavailableError` unless a device computes products in TF32."""
    capability = int(device.compute_capability)
    if capability < 80:
        raise BackendUnavailableError(
            "cupy",
            f"has no TF32 products on {device}, of compute capability {capability / 10}",
            "leave TF32 out, or choose a device of compute capability 8.0 or later",
        )


@functools.cache
def _library() -> Any:
    from cuda import pathfinder  # It comes with CuPy, which finds its libraries by it.

    return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)


@functools.cache
def _handle(device: int) -> Any:
    """Return the handle of a device, made by the first product that needs it."""
    handle = ctypes.c_void_p()
    try:
        _ask("cublasCreate_v2", ctypes.byref(handle))
    except Exception as e:
        raise failures.explain(e) from e
    return handle


def _pointer(address: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(address)


def _ask(name: str, *args: Any) -> None:
    status = getattr(_library(), name)(*args)
    if status:
        raise RuntimeError(f"cuBLAS: {name} failed: {_STATUS.get(status, status)}")
