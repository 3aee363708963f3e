"""Finding the installed backends: the entry-point group ``xpnet.backends``."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from xpnet.errors import BackendUnavailableError, UnknownBackendError
from xpnet.namespace import Namespace

if TYPE_CHECKING:
    import importlib.metadata

GROUP = "xpnet.backends"
VARIABLE = "XPNET_BACKEND"


def backend(name: str | None = None) -> Namespace:
    """Return the namespace of a backend that works on this machine.

    Parameters
    ----------
    name : str, optional
        ``"numpy"``, ``"numba"``, ``"cupy"`` or whatever else is installed; ``"cupy:1"`` names a device too.
        If omitted, the environment variable ``XPNET_BACKEND`` as it is now, and if that is unset or empty,
        ``"numpy"``.

    Returns
    -------
    xp : Namespace
        Never another backend than the one asked for.

    Raises
    ------
    UnknownBackendError
        If no installed package provides the backend.
    BackendUnavailableError
        If one does, and it cannot be used here: why, and what to do.
    """
    if name is None:
        name = os.environ.get(VARIABLE) or "numpy"
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a str, got {name!r}; pass for example 'numpy'")
    xp = _working(name)
    xp.use()
    xp._remade = backend, (name,)
    return xp


def _working(name: str) -> Namespace:
    name, colon, device = name.partition(":")
    entries = _entries()
    if name not in entries:
        raise UnknownBackendError(name, entries)
    xp = _load(entries[name])
    if colon:
        xp = xp.on(device)
    xp.probe()
    return xp


@dataclasses.dataclass(frozen=True)
class BackendInfo:
    """What `backends` tells about one backend; `None` stands for what could not be found out.

    Attributes
    ----------
    name : str
    usable : bool
    reason : str or None
        Why it cannot be used, in the words of the error that `backend` raises.
    remedy : str or None
        What to do about that.
    library : str or None
        The array library underneath.
    version : str or None
        The version of that library.
    device : str or None
        The device of new arrays.
    fused : tuple of str
        The functions of `nn` that have a kernel of their own.
    advice : tuple of str
        What decides the speed here and what would raise it, a line each.
    """

    name: str
    usable: bool
    reason: str | None = None
    remedy: str | None = None
    library: str | None = None
    version: str | None = None
    device: str | None = None
    fused: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def backends() -> list[BackendInfo]:
    """Return what is known of every registered backend, by name; each usable one has been tried out."""
    return [_info(name) for name in _entries()]


def _info(name: str) -> BackendInfo:
    try:
        xp = _working(name)
    except BackendUnavailableError as e:
        return BackendInfo(name, usable=False, reason=str(e), remedy=e.remedy)
    library, version = next(iter(xp.versions.items()))
    return BackendInfo(
        name,
        usable=True,
        library=library,
        version=version,
        device=xp.device_name(),
        fused=xp.fused,
        advice=tuple(xp.advice()),
    )


def _entries() -> dict[str, importlib.metadata.EntryPoint]:
    # Imported here, because it would be a third of the time that `import xpnet` takes.
    import importlib.metadata

    found = importlib.metadata.entry_points(group=GROUP)
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


def _load(entry: importlib.metadata.EntryPoint) -> Namespace:
    package = entry.dist.name if entry.dist else entry.value
    try:
        xp: Any = entry.load()
    except BackendUnavailableError:
        raise
    except Exception as e:
        cause = f"cannot be loaded: {type(e).__name__}: {e}"
        raise BackendUnavailableError(entry.name, cause, f"reinstall {package}") from e
    if not isinstance(xp, Namespace):
        cause = f"cannot be loaded: {entry.value!r} is a {type(xp).__name__}, not an xpnet.Namespace"
        raise BackendUnavailableError(entry.name, cause, f"correct the entry point of {package}")
    return xp
