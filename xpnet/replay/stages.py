"""The operations of a program, and the stages in which threads can share them.

An operation that reads what another has written may follow it in the same stage if both divide the same
number of rows, for then each part reads what it wrote itself; else it waits for a later stage. So a network
of any depth needs about three: forward and back through all layers by rows of the batch, then the gradients
and the steps of the parameters by rows of the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from xpnet.replay.trace import Running


@dataclasses.dataclass
class Slot:
    """A place for an array.

    Attributes
    ----------
    shape, dtype
    argument : int or None
        Which argument of the step it is.
    """

    shape: tuple[int, ...]
    dtype: Any
    argument: int | None = None


@dataclasses.dataclass
class Operation:
    """Something that a kernel does, or a function on the host.

    Attributes
    ----------
    kernel : str or None
        The name of the function in `kernels.operations`; None where the host does it.
    length : int
        How many rows it makes; 0 if it is not divided.
    access : str
        A letter for each operand: ``r`` read, ``w`` written, ``u`` both, by its own rows alone; ``R``, ``W``
        whole.
    operands : tuple of int
        Slots.
    sizes, numbers : tuple
    host : callable or None
        Takes the arrays of the operands.
    """

    kernel: str | None
    length: int
    access: str
    operands: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    host: Callable[..., None] | None = None
    stage: int = 0


@dataclasses.dataclass
class Plan:
    """A step as operations.

    Attributes
    ----------
    slots : list of Slot
        In the order of the recording's values; then those that operations need beside them.
    operations : list of Operation
        By stages.
    counted : list of tuple
        Operation, `Running` and a function of the number that returns the operation's numbers.
    compressed : dict
        By the slot of images: the slots of its `starts` and `entries`.
    dtype : NumPy dtype
    number : dict
        The slot of each value of the trace.
    """

    slots: list[Slot]
    operations: list[Operation]
    counted: list[tuple[Operation, Running, Callable[[int], tuple[float, ...]]]]
    compressed: dict[int, tuple[int, int]]
    dtype: Any
    number: dict[Any, int]

    @property
    def changed(self) -> set[int]:
        """The slots whose arrays are changed in place."""
        return {
            slot
            for operation in self.operations
            for slot, access in zip(operation.operands, operation.access, strict=True)
            if access in "uU"
        }

    @property
    def by_host(self) -> bool:
        """Whether anything is called between stages."""
        return any(operation.host for operation in self.operations)


def assign_stages(operations: Sequence[Operation]) -> None:
    """Give each operation the first stage in which all that it waits for has been done."""
    writers: dict[int, tuple[Operation, bool]] = {}
    readers: dict[int, list[tuple[Operation, bool]]] = {}
    for operation in operations:
        for slot, access in zip(operation.operands, operation.access, strict=True):
            own = access.islower()
            before = [writers[slot]] if slot in writers else []
            if access in "wWuU":
                before += readers.get(slot, [])
            for other, others_own in before:
                operation.stage = max(operation.stage, _earliest(operation, other, own and others_own))
        for slot, access in zip(operation.operands, operation.access, strict=True):
            if access in "rR":
                readers.setdefault(slot, []).append((operation, access.islower()))
            else:
                writers[slot] = operation, access.islower()
                readers[slot] = []


def _earliest(operation: Operation, other: Operation, by_own_rows: bool) -> int:
    """Return the first stage for an operation that uses what `other` used before."""
    if other.host:
        return other.stage if operation.host else other.stage + 1
    if operation.host:
        return other.stage
    same_part = operation.length == other.length and (by_own_rows or operation.length == 0)
    return other.stage if same_part else other.stage + 1
