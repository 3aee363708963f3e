"""The device of a backend: what only the backend can do where its arrays are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import array_api_compat
import numpy

from xpnet.errors import BackendUnavailableError

Array = Any


def _name(xp: Any) -> str:
    return str(xp.device)


def _allocate(xp: Any) -> None:
    xp.zeros((1,), dtype=xp.float32)


def _refuse(xp: Any, text: str) -> NoReturn:
    raise BackendUnavailableError(xp.name, f"has no device {text!r}", f"it runs on {xp.device} only")


def _copy(x: Array) -> numpy.ndarray:
    # NumPy's scalars, which its reductions return, do not support DLPack.
    return numpy.asarray(x) if isinstance(x, numpy.ndarray | numpy.generic) else numpy.from_dlpack(x)


def _nothing() -> None:
    pass


def _no_shortage(error: Exception) -> None:
    pass


def _sum_on_host(group: Any) -> Callable[[Array], Array]:
    def all_reduce(x: Array) -> Array:
        is_own = isinstance(x, numpy.ndarray) and x.flags.writeable
        if is_own and x.flags.carray and x.dtype.isnative:
            group.sum(x)
            return x
        host = _copy(x)
        host = numpy.array(host, host.dtype.newbyteorder("="), order="C")
        group.sum(host)
        if is_own:
            x[...] = host
            return x
        # Without the compatibility layer, which imports all of NumPy.
        library = array_api_compat.array_namespace(x, use_compat=False)
        return library.asarray(host, device=array_api_compat.device(x))

    return all_reduce


@dataclasses.dataclass(frozen=True)
class Device:
    """Where a backend's arrays are, and the functions that depend on it; ``Device()`` is the host.

    A field that is left out is what is right on the host. A function that takes `xp` is given the namespace
    that asks.

    Attributes
    ----------
    handle : object, optional
        The library's own device, on which creation functions make arrays; if omitted, the library's default.
    kind : {"cpu", "gpu"}
    name : callable
        Takes `xp` and returns what a person calls the device, such as the model of a GPU.
    probe : callable
        Takes `xp` and raises an error if the backend cannot be used here.
    use : callable
        Makes this thread work on the device.
    at : callable
        Takes `xp` and the text after the colon of ``"name:device"``; returns the namespace of that device.
    to_host : callable
        Copies an array to NumPy.
    synchronize : callable
        Waits for the device.
    release : callable
        Returns memory that no array uses to the device.
    shortage : callable
        Takes an error; returns how many bytes were asked for and how many are free if the device was out of
        memory, else None.
    all_reduce : callable
        Takes a group of processes, see `xpnet.distributed`, and returns the kernel of `xpnet.nn.all_reduce`.
    remedy : str
        What to tell a person on whose machine the probe fails.
    """

    handle: Any = None
    kind: Literal["cpu", "gpu"] = "cpu"
    name: Callable[[Any], str] = _name
    probe: Callable[[Any], object] = _allocate
    use: Callable[[], object] = _nothing
    at: Callable[[Any, str], Any] = _refuse
    to_host: Callable[[Array], numpy.ndarray] = _copy
    synchronize: Callable[[], object] = _nothing
    release: Callable[[], object] = _nothing
    shortage: Callable[[Exception], tuple[int, int] | None] = _no_shortage
    all_reduce: Callable[[Any], Callable[[Array], Array]] = _sum_on_host
    remedy: str = "reinstall it or choose another backend"
