"""`xpnet.nn.all_reduce` over a group of processes, each with a GPU of its own.

NCCL gives all ranks the same numbers. It promises no order of its sums, but in its rings and trees that
follows from the ranks, their GPUs, the size of the array and NCCL's version, so repeated runs have the same
one. Sums in NVLink switches need not: they are off, unless the environment variable ``NCCL_NVLS_ENABLE`` is
set.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import platform
import sys
import warnings
from collections.abc import Callable
from typing import Any

import cupy
import numpy

from xpnet.distributed import Group
from xpnet_cupy import collective, rules, ways

Array = Any


class Sum:
    """The sum over a group, in place, on the current stream.

    Parameters
    ----------
    group : Group
    add : callable
        Replaces a contiguous array by the sum of those of all ranks.
    reason : str
        Why a CUDA graph cannot hold that; empty if it can.
    """

    def __init__(self, group: Group, add: Callable[[Array], None], reason: str) -> None:
        self._group, self._add, self.reason = group, add, reason

    @property
    def is_quiet(self) -> bool:
        """Whether sums are left out, as in rehearsals, in which ranks may take different numbers of steps."""
        return bool(getattr(self._group, "is_quiet", False))

    def __call__(self, x: Array) -> Array:
        """See `xpnet.nn.all_reduce`."""
        if not self.is_quiet:
            rules.in_place(self._add, [x])
        return x


def all_reduce(device: Any, group: Group) -> Callable[[Array], Array]:
    """Return the kernel of `xpnet.nn.all_reduce` for the arrays of a device; all ranks call this.

    Raises
    ------
    DistributedError
        If two ranks have the same GPU.
    """
    if not group.is_split:
        return collective.all_reduce
    with device:
        with group.together():
            own = tuple(_own(device.id))
        ranks = tuple(ways.Rank(*found) for found in group.gather(own))
        with group.together():
            way, communicator = ways.choose(ranks), None
        if way.name == "nccl":
            communicator, fault = _communicator(group, ranks)
            way = ways.choose(ranks, fault)
    if communicator is not None:
        group.waited = math.nan  # The host does not wait for these sums.
        return Sum(group, functools.partial(_add_by_nccl, communicator), way.reason)
    return Sum(group, functools.partial(_ADD[way.name], group), way.reason)


def _add_by_nccl(communicator: Any, x: Array) -> None:
    nccl, stream = _nccl(), cupy.cuda.get_current_stream().ptr
    kind = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}[x.dtype.name]
    communicator.allReduce(x.data.ptr, x.data.ptr, x.size, kind, nccl.NCCL_SUM, stream)


def _add_by_mpi(group: Group, x: Array) -> None:
    cupy.cuda.get_current_stream().synchronize()  # MPI knows nothing of streams.
    kind = {"float32": ctypes.c_float, "float64": ctypes.c_double}[x.dtype.name]
    # In memory of the GPU: MPI takes its address, and nothing else may read it.
    group.sum(numpy.ctypeslib.as_array((kind * x.size).from_address(x.data.ptr)))


def _add_on_host(group: Group, x: Array) -> None:
    host = cupy.asnumpy(x)
    group.sum(host)
    x.set(host)


_ADD = {"mpi": _add_by_mpi, "host": _add_on_host}


def _own(device: int) -> ways.Rank:
    """Return what this process has."""
    nccl, major = _nccl(), cupy.cuda.runtime.runtimeGetVersion() // 1000
    remedy = f"install it for all ranks with `pip install 'xpnet[nccl{major}]'`"
    return ways.Rank(
        host=platform.node(),
        process=os.getpid(),
        gpu=cupy.cuda.runtime.deviceGetPCIBusId(device),
        nccl=nccl.get_version() if nccl.available else 0,
        remedy=remedy if sys.platform == "linux" else "it exists for Linux only",
        mpi_reads_gpus=_mpi_reads_gpus(),
    )


@functools.cache
def _nccl() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy's own, if there is none: the report says so.
        from cupy.cuda import nccl
    return nccl


def _mpi_reads_gpus() -> bool:
    """Return whether the MPI library of this process, if any, says that it reads the memory of GPUs."""
    mpi = sys.modules.get("mpi4py.MPI")
    try:  # Open MPI and MPICH have this function, beside the standard.
        return mpi is not None and bool(ctypes.CDLL(mpi.__file__).MPIX_Query_cuda_support())
    except AttributeError:
        return False


_communicators: dict[tuple[ways.Rank, ...], Any] = {}


def _communicator(group: Group, ranks: tuple[ways.Rank, ...]) -> tuple[Any, str]:
    """Return NCCL's communicator of these ranks, or None and why there is none; all ranks call this."""
    if ranks in _communicators:
        return _communicators[ranks], ""
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    nccl, found = _nccl(), None
    try:
        key = nccl.get_unique_id() if group.rank == 0 else None
    except Exception as e:
        key = e
    key, text = group.broadcast(key), ""
    try:
        if isinstance(key, Exception):
            raise key
        found = nccl.NcclCommunicator(group.size, key, group.rank)
        _add_by_nccl(found, cupy.zeros((1,), "float32"))
        cupy.cuda.get_current_stream().synchronize()  # What is wrong shows here, and not in a captured step.
    except Exception as e:
        text = f"{type(e).__name__}: {e}"
    texts = group.gather(text)
    failed = [rank for rank, text in enumerate(texts) if text]
    if failed:
        if found is not None:
            found.abort()  # `destroy`, which Python would call, may wait for the rank that failed.
        return None, f"NCCL fails on rank {failed[0]}: {texts[failed[0]]}; NCCL_DEBUG=WARN makes it say why"
    # For the life of the process, and longer than Python's objects: NCCL waits in `ncclCommDestroy` for the
    # graphs that hold its kernels, and Python frees objects in any order when it ends.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
    _communicators[ranks] = found
    return found, ""
