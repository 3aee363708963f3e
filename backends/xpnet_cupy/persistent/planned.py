"""A step as a persistent kernel carries it out: see `plan`, which makes a `Plan` of a trace."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy

from xpnet.replay.trace import Call, Running, Trace, Value
from xpnet_cupy.persistent import memory


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows of the batch that come from arguments.

    Attributes
    ----------
    rows : Value
    indices : Value or None
        Which of the rows; None for all, in order.
    scale, offset : float
    """

    rows: Value
    indices: Value | None = None
    scale: float = 1.0
    offset: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A step of an optimizer, by the gradient of a linear layer.

    Attributes
    ----------
    call : Call
    x : Value or None
        The input of the layer; None for a bias.
    dy : Value
        The gradient at its output.
    """

    call: Call
    x: Value | None
    dy: Value

    @property
    def param(self) -> Value:
        """The parameter."""
        return self.call.arrays["param"]

    @property
    def shape(self) -> tuple[int, int]:
        """The rows and columns of the parameter; a bias has one row."""
        *rows, columns = self.param.shape
        return math.prod(rows), columns


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A step as a persistent kernel carries it out.

    Attributes
    ----------
    trace : Trace
    dtype : dtype
        T below.
    batch : int
    sources : dict of Value to Source
        The rows that come from arguments.
    same : dict of Value to Value
        Values that have the memory of others.
    calls : tuple of Call
        Those by rows of the batch, in order.
    steps : tuple of Step
    sums : tuple of Call
        Those that add a loss to a total.
    arguments : tuple of Value
        Arrays whose addresses the kernel takes, in order. An address must be a multiple of 16 bytes.
    strided : tuple of Value
        Those that no call changes: any of these may be rows of a scan.
    numbers : tuple of Running
        Floats that differ from step to step; the host gives them to the kernel for every step. Those of a
        rule are neighbours.
    counts : tuple of Running
        Whole numbers of the first step, which grow by 1 with each step.
    totals : dict of Value to Value
        By a total that the step returns: the argument that becomes it, in place.
    places : dict of Value or Call to int
        Where in the scratch memory rows are that the second stage reads, and losses of rows, by their
        calls.
    scratch : int
        Its length, in elements of T.
    """

    trace: Trace
    dtype: numpy.dtype[Any]
    batch: int
    sources: dict[Value, Source]
    same: dict[Value, Value]
    calls: tuple[Call, ...]
    steps: tuple[Step, ...]
    sums: tuple[Call, ...]
    arguments: tuple[Value, ...]
    strided: tuple[Value, ...]
    numbers: tuple[Running, ...]
    counts: tuple[Running, ...]
    totals: dict[Value, Value]
    places: dict[Value | Call, int]
    scratch: int
    barriers: int = 2

    @property
    def weights(self) -> int:
        """The number of elements of all parameters that are stepped."""
        return sum(math.prod(step.param.shape) for step in self.steps)

    @property
    def traffic(self) -> int:
        """The bytes of parameters that one step reads for the rows of the batch, if no input is 0."""
        read = 0
        for call in self.calls:
            if call.name == "linear":
                read += sum(math.prod(call.arrays[name].shape) for name in ("weight", "bias"))
            elif call.name == "linear_backward":
                read += math.prod(call.arrays["weight"].shape)
        return read * self.batch * self.dtype.itemsize

    @functools.cached_property
    def listed(self) -> frozenset[Value]:
        """The rows that only linear layers read: those of their elements that are not 0 are listed."""
        others = {
            self.same_as(value)
            for call in self.calls
            for name, value in call.arrays.items()
            if not (call.name == "linear" and name == "x")
        }
        inputs = {self.same_as(call.arrays["x"]) for call in self.calls if call.name == "linear"}
        return frozenset(inputs.intersection(self.sources) - others)

    @property
    def listed_in_order(self) -> list[Value]:
        """The values in `listed`, in order."""
        return [value for value in self.trace.values if value in self.listed]

    def is_given(self, step: Step) -> bool:
        """Return whether the inputs of a step's layer come from arguments."""
        return step.x is not None and self.same_as(step.x) in self.sources

    def same_as(self, value: Value) -> Value:
        """Return the value whose memory this one has."""
        return self.same.get(value, value)

    def shared(self, threads: int) -> int:
        """Return how many bytes of shared memory a block of so many threads has."""
        return memory.layout_of(self, threads).size
