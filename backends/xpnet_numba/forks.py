"""Forks, which copy the memory of a process but only one of its threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

# Held while machine code is made or loaded, or Numba imported. A fork waits for it, because a child process
# has none of the other threads of its parent, and would never see the end of what they have begun.
compiling = threading.RLock()

_held: list[Any] = []


def in_child(begin_anew: Callable[[], object]) -> None:
    """Call this function in every forked process, if the system forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=begin_anew)


def _before() -> None:
    compiling.acquire()
    _held.append(compiling)
    numba = sys.modules.get("numba.core.compiler_lock")  # which is held where a kernel of `xp.nn` is compiled
    lock = getattr(numba, "global_compiler_lock", None)
    if lock is not None:
        lock.acquire()
        _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
