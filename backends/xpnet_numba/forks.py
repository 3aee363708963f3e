"""Forks, which copy the memory of a process but only one of its threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

# Held while machine code is compiled or loaded, and while Numba is imported. A fork waits for it: a child
# process has only one thread, so what another thread had begun would never end there.
compiling = threading.RLock()

_held: list[Any] = []


def in_child(function: Callable[[], object]) -> None:
    """Call a function in every forked process, if the system can fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _before() -> None:
    compiling.acquire()
    _held.append(compiling)
    numba = sys.modules.get("numba.core.compiler_lock")  # held while a kernel of `xp.nn` is compiled
    lock = getattr(numba, "global_compiler_lock", None)
    if lock is not None:
        lock.acquire()
        _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
