"""Finding the installed backends: the entry-point group ``xpnet.backends``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import traceback
from typing import TYPE_CHECKING, Any

from xpnet.checked import checked as with_checks
from xpnet.errors import BackendUnavailableError, UnknownBackendError
from xpnet.namespace import Namespace

if TYPE_CHECKING:
    import importlib.metadata

GROUP = "xpnet.backends"
SHIPPED = ("cupy", "numba", "numpy")
"""The names that are xpnet's own: each belongs to the package ``xpnet_<name>``."""
VARIABLE = "XPNET_BACKEND"
CHECKED = "XPNET_CHECKED"


def backend(name: str | None = None, *, checked: bool | None = None) -> Namespace:
    """Return the namespace of a backend that works on this machine.

    Parameters
    ----------
    name : str, optional
        ``"numpy"``, ``"numba"``, ``"cupy"`` or whatever else is installed; ``"cupy:1"`` names a device too.
        If omitted, the environment variable ``XPNET_BACKEND`` as it is now, and if that is unset or empty,
        ``"numpy"``.
    checked : bool, optional
        Whether each call of a function of `xp.nn` compares its arguments and results with what the function
        takes and returns: shapes, dtypes, and that indices and labels are in range. What does not fit
        raises a `ValueError` or a `TypeError` that names the function and the argument; without checks it may
        end the process. Compiled steps run as they are then, and their `report` says so. If omitted, the
        environment variable ``XPNET_CHECKED``: 1 for yes, 0 or nothing for no.

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
    wanted = _checks_wanted() if checked is None else checked
    if not isinstance(wanted, bool):
        raise TypeError(f"`checked` must be True or False, got {wanted!r}")
    xp = _working(name)
    xp.use()
    xp._remade = backend, (name,)
    return with_checks(xp) if wanted else xp


def _checks_wanted() -> bool:
    value = os.environ.get(CHECKED, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{CHECKED} must be 0 or 1, got {value!r}; set it to 1 to check calls of `xp.nn`")
    return value == "1"


def _working(name: str) -> Namespace:
    name, colon, device = name.partition(":")
    entries = _entries()
    if name not in entries:
        raise UnknownBackendError(name, entries)
    entry = _only(entries[name])
    xp = _load(entry)
    with _Explained(name, "cannot be used", f"reinstall {_package(entry)}"):
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
    """Return what is known of every registered backend, by name; each usable one has been tried out.

    Whatever goes wrong with one of them is its `reason`; the others are told as they are.
    """
    return [_info(name) for name in _entries()]


def _info(name: str) -> BackendInfo:
    try:
        with _Explained(name, "cannot be described", "correct the package that provides it"):
            xp = _working(name)
            library, version = next(iter(xp.versions.items()))
            return BackendInfo(
                name,
                usable=True,
                library=str(library),
                version=str(version),
                device=str(xp.device_name()),
                fused=xp.fused,
                advice=_advice(xp),
            )
    except BackendUnavailableError as e:
        return BackendInfo(name, usable=False, reason=str(e), remedy=e.remedy)


def _advice(xp: Namespace) -> tuple[str, ...]:
    try:
        with _Explained(xp.name, "has no advice", "it can be used all the same"):
            return tuple(map(str, xp.advice()))
    except BackendUnavailableError as e:
        return (str(e),)


class _Explained:
    """A context that raises a `BackendUnavailableError` for whatever the code of a backend raises.

    An interruption is left as it is. This is no generator, because one cannot raise another error for a
    `StopIteration`.
    """

    def __init__(self, name: str, what: str, remedy: str) -> None:
        self._name, self._what, self._remedy = name, what, remedy

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Not `Exception`: a package may call `sys.exit`, and the panic of a library in Rust is none.
        if error is None or isinstance(error, BackendUnavailableError) or _interrupted(error):
            return
        raise BackendUnavailableError(self._name, f"{self._what}: {_text(error)}", self._remedy) from error


def _text(error: BaseException) -> str:
    with contextlib.suppress(Exception):  # Its class may have a `__str__` that fails.
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    return type(error).__name__


def _interrupted(error: BaseException) -> bool:
    """Return whether an error comes from the keyboard or from a signal's handler, and so from no backend."""
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()}
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, KeyboardInterrupt) or any(frame.f_code in handlers for frame, _ in frames)


def _entries() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """Return what is registered under each name, by name."""
    # Imported here, because it would be a third of the time that `import xpnet` takes.
    import importlib.metadata

    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        found.setdefault(entry.name, []).append(entry)
    return found


def _only(entries: list[importlib.metadata.EntryPoint]) -> importlib.metadata.EntryPoint:
    """Return the entry point of a backend.

    Raises
    ------
    BackendUnavailableError
        If several packages provide it, or one that may not.
    """
    name, first = entries[0].name, entries[0]
    own = f"xpnet_{name}:xp" if name in SHIPPED else first.value
    # One package can be found twice: its checkout, and what an earlier installation left.
    if first.value == own and (len(entries) == 1 or len({(_package(e), e.value) for e in entries}) == 1):
        return first
    packages = _listed([f"{_package(e)} ({e.value})" for e in entries])
    others = _listed([_package(e) for e in entries if name in SHIPPED and e.value != own])
    raise BackendUnavailableError(
        name,
        f"is provided by {packages}",
        f"{'the name is reserved for xpnet: ' if others else ''}"
        f"uninstall {others or 'one of them'}, or register it by another name",
    )


def _listed(names: list[str]) -> str:
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _package(entry: importlib.metadata.EntryPoint) -> str:
    # Not `dist.name`, which warns if there is none.
    if entry.dist and "Name" in entry.dist.metadata:
        return entry.dist.metadata["Name"]
    return entry.value


def _load(entry: importlib.metadata.EntryPoint) -> Namespace:
    with _Explained(entry.name, "cannot be loaded", f"reinstall {_package(entry)}"):
        xp: Any = entry.load()
    if not isinstance(xp, Namespace):
        cause = f"cannot be loaded: {entry.value!r} is a {type(xp).__name__}, not an xpnet.Namespace"
        raise BackendUnavailableError(entry.name, cause, f"correct the entry point of {_package(entry)}")
    return xp
