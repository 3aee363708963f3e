"""The namespaces of this backend, one per CUDA device."""

from __future__ import annotations

import functools
import os
import re
import weakref
from typing import Any

import cupy
from array_api_compat import cupy as library

from xpnet import BackendUnavailableError, Device, Namespace
from xpnet.distributed.launch import launched_local_rank
from xpnet_cupy import blas, probing, programs, sums
from xpnet_cupy.dense import Dense
from xpnet_cupy.functions import functions


def _namespace(number: int, *, tf32: bool = False) -> Namespace:
    def with_tf32() -> Namespace:
        blas.check_tf32(device.handle)
        return _namespace(number, tf32=True)

    device, dense = _device(number), Dense(tf32=tf32)
    xp = Namespace(
        "cupy",
        library,
        fused=functions(dense),
        device=device,
        compile=functools.partial(programs.replayed, dense=dense),
        tf32=with_tf32,
        versions={"cupy": cupy.__version__},
    )
    _made.add(xp)
    return xp


def _device(number: int) -> Device:
    handle = cupy.cuda.Device(number)  # Constructed, not used: this needs no driver.
    return Device(
        handle,
        kind="gpu",
        name=_model,
        probe=lambda xp: probing.probe(xp.device),
        use=handle.use,
        at=_at,
        to_host=cupy.asnumpy,
        synchronize=handle.synchronize,
        release=functools.partial(_release, handle),
        shortage=functools.partial(shortage, handle),
        all_reduce=functools.partial(sums.all_reduce, handle),
    )


def _model(xp: Namespace) -> str:
    """Return the model of a namespace's GPU."""
    return str(cupy.cuda.runtime.getDeviceProperties(xp.device.id)["name"].decode())


def _at(xp: Namespace, text: str) -> Namespace:
    """Return the namespace of another device, and make that device current for this thread.

    Parameters
    ----------
    xp : Namespace
        Any of this backend's.
    text : str
        The number of the device, from 0.

    Raises
    ------
    BackendUnavailableError
        If there is no such device, or none at all.
    """
    if not (text.isascii() and text.isdecimal()):
        raise BackendUnavailableError(
            xp.name, f"has no device {text!r}", "give a device's number, as in 'cupy:0'"
        )
    found = probing.count_devices()
    if int(text) >= found:
        choices = ", ".join(repr(f"cupy:{i}") for i in range(found))
        raise BackendUnavailableError(xp.name, f"has no device {text!r}", f"choose among {choices}")
    named = _namespace(int(text))
    named.use()
    return named


_made: weakref.WeakSet[Namespace] = weakref.WeakSet()


def _probe_again() -> None:
    """Make the next use of each namespace find out that CUDA does not work in a forked process."""
    for xp in [*_made]:
        xp.distrust()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_probe_again)


def _release(device: Any) -> None:
    with device:
        cupy.get_default_memory_pool().free_all_blocks()


def shortage(device: Any, error: Exception) -> tuple[int, int] | None:
    """Return how many bytes were asked for and how many are free if `device` was out of memory, else None."""
    if not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return None
    with device:
        free = device.mem_info[0] + cupy.get_default_memory_pool().free_bytes()
    return asked_for(str(error)), free


def asked_for(text: str) -> int:
    """Return the number of bytes in the text of CuPy's error, or 0 if there is none."""
    found = re.search(r"allocating ([\d,]+) bytes", text)
    return int(found[1].replace(",", "")) if found else 0


def _own_number() -> int:
    """Return the number of this process's device: 0, unless a launcher started several on this node."""
    rank = launched_local_rank()
    if not rank:
        return 0
    try:
        return rank % probing.count_devices()
    except BackendUnavailableError:  # The first use of the namespace raises it again.
        return 0


xp = _namespace(_own_number())
