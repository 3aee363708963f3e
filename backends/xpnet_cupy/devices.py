"""The namespaces of this backend, one for each CUDA device."""

from __future__ import annotations

import functools
import os
import re
import weakref
from typing import Any

import cupy
from array_api_compat import cupy as library

from xpnet import BackendUnavailableError, Namespace
from xpnet.replay.replayed import Replayed
from xpnet_cupy import blas, graphs, probing
from xpnet_cupy.products import Products, functions


def on(text: str) -> Namespace:
    """Return the namespace of a device, and make that device current for this thread.

    A thread works on one device at a time: arrays and kernels made from here on are this device's, until this
    is called again.

    Parameters
    ----------
    text : str
        The number of the device, from 0.

    Raises
    ------
    BackendUnavailableError
        If there is no such device, or none at all.
    """
    if not (text.isascii() and text.isdecimal()):
        raise BackendUnavailableError(
            "cupy", f"has no device {text!r}", "give a device's number, as in 'cupy:0'"
        )
    found = probing.count_devices()
    if int(text) >= found:
        choices = ", ".join(repr(f"cupy:{i}") for i in range(found))
        raise BackendUnavailableError("cupy", f"has no device {text!r}", f"choose among {choices}")
    named = _namespace(int(text))
    named.use()
    return named


def _namespace(number: int, *, tf32: bool = False) -> Namespace:
    device = cupy.cuda.Device(number)  # Constructed, not used: this needs no driver.

    def with_tf32() -> Namespace:
        blas.check_tf32(device)
        return _namespace(number, tf32=True)

    def compile_step(step: Any) -> Replayed:
        return graphs.replayed(step, Products(tf32=tf32))

    def device_name() -> str:
        return str(cupy.cuda.runtime.getDeviceProperties(number)["name"].decode())

    def release() -> None:
        with device:
            cupy.get_default_memory_pool().free_all_blocks()

    xp = Namespace(
        "cupy",
        library,
        fused=functions(tf32=tf32),
        device=device,
        device_name=device_name,
        probe=functools.partial(probing.probe, device),
        to_host=cupy.asnumpy,
        synchronize=device.synchronize,
        compile=compile_step,
        on=on,
        use=device.use,
        tf32=with_tf32,
        release=release,
        shortage=functools.partial(shortage, device),
        versions={"cupy": cupy.__version__},
    )
    _made.add(xp)
    return xp


_made: weakref.WeakSet[Namespace] = weakref.WeakSet()


def _probe_again() -> None:
    """Let the next use say that CUDA, once it is used, does not work in a forked process."""
    for xp in [*_made]:
        xp.distrust()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_probe_again)


def shortage(device: Any, error: Exception) -> tuple[int, int] | None:
    """Return how many bytes were asked for and how many are free, if a device was out of memory."""
    if not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return None
    with device:
        free = device.mem_info[0] + cupy.get_default_memory_pool().free_bytes()
    return asked_for(str(error)), free


def asked_for(text: str) -> int:
    """Return the number of bytes in the text of CuPy's error, or 0 if there is none."""
    found = re.search(r"allocating ([\d,]+) bytes", text)
    return int(found[1].replace(",", "")) if found else 0


xp = _namespace(0)
