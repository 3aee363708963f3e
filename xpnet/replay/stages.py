"""Operations, and the stages in which threads can share them.

An operation that reads what another one has written may follow it in the same stage if both divide the same
number of rows, because each part then reads what it wrote itself; else it waits for a later stage. So a
network of any depth needs about three: forward and back through all layers by rows of the batch, then the
gradients and the steps of the parameters by rows of the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from xpnet.replay.trace import Value


@dataclasses.dataclass(eq=False)
class Operation:
    """Something that a kernel does, or a function on the host.

    Attributes
    ----------
    name : str
        Of the kernel or the function.
    operands : tuple of Value
    access : str
        A letter for each operand: ``r`` read, ``w`` written, ``u`` both; lower case if each row that is made
        needs or changes only the same row of it.
    length : int
        How many rows threads divide; 0 if one thread does all.
    sizes, numbers : tuple
        Whole and floating-point numbers that the kernel is given.
    count : callable or None
        Takes the leaves of the step's arguments and returns `numbers`, if these differ from call to call.
    host : callable or None
        The function, which takes the arrays of the operands.
    has_threads : bool
        Whether this function may use threads of its own, as BLAS does.
    stage : int
    """

    name: str
    operands: tuple[Value, ...]
    access: str
    length: int = 0
    sizes: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    count: Callable[[Sequence[Any]], tuple[float, ...]] | None = None
    host: Callable[..., None] | None = None
    has_threads: bool = True
    stage: int = 0


def in_stages(operations: Iterable[Operation]) -> list[Operation]:
    """Return operations in the order of their stages; in each, those of the host come last.

    Each has the first stage in which all that it waits for has been done.
    """
    operations = [*operations]
    writers: dict[Value, tuple[Operation, bool]] = {}
    readers: dict[Value, list[tuple[Operation, bool]]] = {}
    for operation in operations:
        uses = [*zip(operation.operands, operation.access, strict=True)]
        for value, access in uses:
            before = [writers[value]] if value in writers else []
            if access not in "rR":
                before += readers.get(value, [])
            for other, by_own_rows in before:
                own = by_own_rows and access.islower()
                operation.stage = max(operation.stage, _earliest(operation, other, own))
        for value, access in uses:
            if access in "rR":
                readers.setdefault(value, []).append((operation, access.islower()))
            else:
                writers[value] = operation, access.islower()
                readers[value] = []
    return sorted(operations, key=lambda operation: (operation.stage, operation.host is not None))


def _earliest(operation: Operation, other: Operation, by_own_rows: bool) -> int:
    """Return the first stage for an operation that uses what `other` used before."""
    if other.host:
        return other.stage if operation.host else other.stage + 1
    if operation.host:
        return other.stage
    same_part = operation.length == other.length and (by_own_rows or operation.length == 0)
    return other.stage if same_part else other.stage + 1
