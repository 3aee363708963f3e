"""The namespaces of this backend, one for each CUDA device."""

from __future__ import annotations

import functools

import cupy
from array_api_compat import cupy as library

from xpnet import BackendUnavailableError, Namespace
from xpnet_cupy import kernels, probing


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
    cupy.cuda.Device(int(text)).use()
    return _namespace(int(text))


def _namespace(number: int) -> Namespace:
    device = cupy.cuda.Device(number)  # Constructed, not used: this needs no driver.
    return Namespace(
        "cupy",
        library,
        fused=kernels.FUSED,
        device=device,
        probe=functools.partial(probing.probe, device),
        to_host=cupy.asnumpy,
        synchronize=device.synchronize,
        on=on,
        versions={"cupy": cupy.__version__},
    )


xp = _namespace(0)
