"""From the calls of a step to a program.

Each call becomes operations, most of which make the rows of a result independently of each other. What has no
operation, and products too large for ours, are called as ever, between stages.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy

from xpnet.replay.stages import Operation, Plan, Slot, assign_stages
from xpnet.replay.trace import Call, NotReplayableError, Running, Trace, Value
from xpnet_numba.layout import adam_numbers

Array = Any

BLOCKS = 4
"""Into how many ranges the pixels of mostly empty images are divided. A weight is used and changed by ranges
of its rows, so that each stays in the cache of one processor; only the sums of its products travel."""
LARGEST_PRODUCT = 2**30
"""Multiplications in the largest matrix product that is ours; beyond it the BLAS is faster."""
LARGEST_LISTS = 2**22
"""Pixels of a batch, zeros included, up to which it is transposed: the lists take 4 bytes for each."""
DENSEST = 0.4
"""Share of pixels that are not 0, up to which to skip the others is faster."""


def make_plan(trace: Trace) -> Plan:
    """Return the operations of a recorded step, in stages."""
    planner = _Planner(trace)
    for call in trace.calls:
        planner.lower(call)
    operations = planner.operations
    assign_stages(operations)
    operations.sort(key=lambda operation: (operation.stage, operation.host is not None))
    return Plan(planner.slots, operations, planner.counted, planner.compressed, planner.dtype, planner.number)


class _Planner:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.number = {value: i for i, value in enumerate(trace.values)}
        self.slots = [Slot(value.shape, value.dtype, value.leaf) for value in trace.values]
        self.operations: list[Operation] = []
        self.counted: list[Any] = []
        self.compressed: dict[int, tuple[int, int]] = {}
        self._batches: dict[int, _SparseBatch] = {}
        floats = {s.dtype for s in self.slots if s.dtype.kind == "f"}
        self.dtype = floats.pop() if len(floats) == 1 else None

    def lower(self, call: Call) -> None:
        """Add the operations of a call."""
        ours = (
            self.dtype in ("float32", "float64")
            and call.arrays.keys() == call.function.arrays.keys()
            and all(self._is_ours(key, value) for key, value in call.arrays.items())
        )
        lower = getattr(self, f"_{call.name}", None)
        if lower is None or not ours or not lower(*self._arguments(call), *self._results(call)):
            self._call(call)

    def _arguments(self, call: Call) -> list[Any]:
        names = [*inspect.signature(call.function.twin).parameters][1:]
        return [self.number[call.arrays[n]] if n in call.arrays else call.numbers[n] for n in names]

    def _results(self, call: Call) -> list[int | None]:
        return [None if value is None else self.number[value] for value in call.results]

    def _is_ours(self, key: str, value: Value) -> bool:
        """Return whether operations take such an argument: kernels trust dtypes and shapes."""
        slot = self.slots[self.number[value]]
        dtypes = _STORED.get(key, (self.dtype,))
        return 0 not in slot.shape and slot.dtype in (self.dtype if t == "float" else t for t in dtypes)

    def _call(self, call: Call) -> None:
        """Let the host call the function; its results are copied to where they are expected."""
        function = call.function_of(*call.arrays)
        inputs = [self.number[value] for value in call.arrays.values()]
        results = [r for r in self._results(call) if r is not None]

        def run(*arrays: Array) -> None:
            made = function(*arrays[: len(inputs)])
            made = made if isinstance(made, tuple) else (made,)
            made = [x for x in made if x is not None]
            for target, source in zip(arrays[len(inputs) :], made, strict=True):
                if not numpy.may_share_memory(target, source):
                    target[...] = source

        if call.running:
            raise NotReplayableError(f"`nn.{call.name}` with these dtypes counts steps outside the program")
        if any(i in self._batches for i in inputs):
            # A batch of mostly empty images is never written out.
            raise NotReplayableError(
                f"`nn.{call.name}` is given images and arrays of unusual shapes or dtypes"
            )
        access = "R" * len(inputs) + ("U" if call.changed else "W") * len(results)
        self.operations.append(Operation(None, 0, access, (*inputs, *results), host=run))

    # A function of `nn` is lowered by the method of its name, which takes the function's arguments and then
    # the slots of its results, and returns whether there are operations for these.

    def _gather_batch(
        self, images: int, indices: int, scale: float, offset: float, dtype: Any, x: int
    ) -> bool:
        if self._ranks(images, indices) != (2, 1):
            return False
        (n, pixels), batch = self.slots[images].shape, self.slots[indices].shape[0]
        stored = self.slots[images].dtype
        if stored != "uint8" or not self._is_sparse(images, batch, x):
            kernel = "gather" if stored == "uint8" else "gather_floats"
            sizes, numbers = (pixels, n), (scale, offset)
            return self._add(kernel, batch, "Rrw", images, indices, x, sizes=sizes, numbers=numbers)
        if images not in self.compressed:
            self.compressed[images] = self._temporary((0,), "int64"), self._temporary((0,), "uint32")
        starts, entries = self.compressed[images]
        # A cache line more than a list can fill, lest the ends of lists meet in the same sets of a cache.
        room = -(-batch // 32) * 32 + 16
        lists, counts = self._temporary((pixels * room,), "uint32"), self._temporary((pixels,), "int64")
        self._batches[x] = _SparseBatch(starts, entries, indices, lists, room, counts, n, scale, offset)
        return True

    def _is_sparse(self, images: int, batch: int, x: int) -> bool:
        """Return whether to skip the zeros of these images: few pixels, used in linear layers alone."""
        if any(self.number[value] == x for value in self._trace.returned):
            return False
        multiplied = False
        for call in self._trace.calls:
            uses = [key for key, value in call.arrays.items() if self.number[value] == x]
            if uses and (
                uses != ["x"]
                or call.name not in ("linear", "linear_backward")
                or call.numbers.get("input_gradient")
                or not (multiplied or call.name == "linear")
            ):
                return False
            multiplied = multiplied or bool(uses)
        array = next(x for value, x in self._trace.arguments.items() if self.number[value] == images)
        fits = array.shape[1] < 2**24 and array.shape[1] * batch <= LARGEST_LISTS
        return fits and numpy.count_nonzero(array) <= DENSEST * array.size

    def _gather_labels(self, labels: int, indices: int, out: int) -> bool:
        if self._ranks(labels, indices) != (1, 1):
            return False
        n, batch = self.slots[labels].shape[0], self.slots[indices].shape[0]
        return self._add("gather_labels", batch, "Rrw", labels, indices, out, sizes=(n,))

    def _linear(self, x: int, weight: int, bias: int, y: int) -> bool:
        if (
            self._ranks(weight, bias, y) != (2, 1, 2)
            or self.slots[bias].shape != self.slots[weight].shape[1:]
        ):
            return False
        (n_in, n_out), batch = self.slots[weight].shape, self.slots[y].shape[0]
        sparse = self._batches.get(x)
        if sparse:
            shares = self._temporary((BLOCKS, batch, n_out), self.dtype)
            operands = (
                sparse.starts,
                sparse.entries,
                sparse.indices,
                weight,
                shares,
                sparse.lists,
                sparse.counts,
            )
            sizes = n_out, batch, sparse.room, n_in, BLOCKS, sparse.images
            numbers = (sparse.scale,)
            self._add("multiply_sparse", BLOCKS, "RRRRwww", *operands, sizes=sizes, numbers=numbers)
            if sparse.offset:
                folded, shape = self._temporary((n_out,), self.dtype), (n_out, n_in)
                offset = (sparse.offset,)
                self._add("add_offset", 0, "RRW", weight, bias, folded, sizes=shape, numbers=offset)
                bias = folded
            return self._add("add_shares", batch, "RRw", shares, bias, y, sizes=(n_out, batch, BLOCKS))
        self._product(batch, n_in, n_out, x, weight, y, bias=bias)
        return True

    def _linear_backward(
        self,
        x: int,
        weight: int,
        dy: int,
        input_gradient: bool,
        dx: int | None,
        d_weight: int,
        d_bias: int,
    ) -> bool:
        if self._ranks(x, weight, dy) != (2, 2, 2):
            return False
        (n_in, n_out), batch = self.slots[weight].shape, self.slots[dy].shape[0]
        if dx is not None:
            self._product(batch, n_out, n_in, dy, weight, dx, transposed="right")
        sparse = self._batches.get(x)
        if sparse:
            operands = sparse.lists, sparse.counts, dy, d_weight
            sizes, numbers = (n_out, batch, sparse.room), (sparse.scale, sparse.offset)
            self._add("differentiate_sparse", n_in, "RRRw", *operands, sizes=sizes, numbers=numbers)
        else:
            self._product(n_in, batch, n_out, x, dy, d_weight, transposed="left")
        return self._add("add_rows", 0, "RW", dy, d_bias, sizes=(n_out, batch))

    def _product(
        self,
        rows: int,
        inner: int,
        columns: int,
        left: int,
        right: int,
        out: int,
        *,
        transposed: str = "",
        bias: int | None = None,
    ) -> None:
        """Add the product of two matrices, of which one may be stored transposed."""
        if rows * inner * columns > LARGEST_PRODUCT:
            self._add(None, 0, "RRW", left, right, out, host=_MATMUL[transposed])
            if bias is not None:
                self._add("add_bias", rows, "uR", out, bias, sizes=(columns,))
            return
        if transposed == "right":
            stored, right = right, self._temporary((inner, columns), self.dtype)
            self._add("transpose", inner, "Rw", stored, right, sizes=(columns, inner))
        steps = (1, rows) if transposed == "left" else (inner, 1)
        self._add(
            "multiply",
            rows,
            "RRRw" if transposed == "left" else "rRRw",
            left,
            right,
            right if bias is None else bias,
            out,
            sizes=(columns, inner, *steps),
            numbers=(float(bias is not None),),
        )

    def _each(self, kernel: str, access: str, *operands: int, **more: Any) -> bool:
        """Add an operation on each element, divided by rows; one on a bias is not divided."""
        shape = self.slots[operands[0]].shape
        if not shape or any(self.slots[i].shape != shape for i in operands):
            return False
        length, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (0, shape[0])
        return self._add(kernel, length, access, *operands, sizes=(columns,), **more)

    def _ranks(self, *slots: int) -> tuple[int, ...]:
        return tuple(len(self.slots[i].shape) for i in slots)

    def _sigmoid(self, z: int, y: int) -> bool:
        return self._each("sigmoid", "rw", z, y)

    def _sigmoid_backward(self, y: int, dy: int, dz: int) -> bool:
        return self._each("sigmoid_backward", "rrw", y, dy, dz)

    def _relu(self, z: int, y: int) -> bool:
        return self._each("relu", "rw", z, y)

    def _relu_backward(self, y: int, dy: int, dz: int) -> bool:
        return self._each("relu_backward", "rrw", y, dy, dz)

    def _tanh_backward(self, y: int, dy: int, dz: int) -> bool:
        return self._each("tanh_backward", "rrw", y, dy, dz)

    def _softmax_cross_entropy(self, logits: int, labels: int, loss: int, d_logits: int) -> bool:
        if (
            self._ranks(logits, labels) != (2, 1)
            or self.slots[labels].shape[0] != self.slots[logits].shape[0]
        ):
            return False
        batch, classes = self.slots[logits].shape
        losses = self._temporary((batch,), "float64")
        operands, sizes, numbers = (logits, labels, d_logits, losses), (classes,), (1 / batch,)
        self._add("softmax_cross_entropy", batch, "rrww", *operands, sizes=sizes, numbers=numbers)
        return self._add("mean", 0, "RW", losses, loss, sizes=(batch,))

    def _accumulate(self, total: int, value: int, weight: float, out: int) -> bool:
        if self._ranks(total, value) != (0, 0):
            return False
        return self._add("accumulate", 0, "RRW", total, value, out, numbers=(weight,))

    def _sgd_step(self, param: int, grad: int, lr: float, _: int) -> bool:
        return self._each("sgd_step", "ru", grad, param, numbers=(lr,))

    def _momentum_step(self, param: int, grad: int, velocity: int, lr: float, beta: float, *_: int) -> bool:
        numbers = lr, beta, 1 - beta
        return self._each("momentum_step", "ruu", grad, param, velocity, numbers=numbers)

    def _nesterov_step(self, param: int, grad: int, velocity: int, lr: float, beta: float, *_: int) -> bool:
        numbers = lr, beta, 1 - beta
        return self._each("nesterov_step", "ruu", grad, param, velocity, numbers=numbers)

    def _adam_step(
        self,
        param: int,
        grad: int,
        mean: int,
        variance: int,
        step: int,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        *_: int,
    ) -> bool:
        def numbers(step: int) -> tuple[float, ...]:
            return adam_numbers(step, lr, beta1, beta2, eps)

        added = self._each(
            "adam_step",
            "ruuu",
            grad,
            param,
            mean,
            variance,
            numbers=numbers(1 if isinstance(step, Running) else step),
        )
        if added and isinstance(step, Running):
            self.counted.append((self.operations[-1], step, numbers))
        return added

    def _add(self, kernel: str | None, length: int, access: str, *operands: int, **more: Any) -> bool:
        self.operations.append(Operation(kernel, length, access, operands, **more))
        return True

    def _temporary(self, shape: tuple[int, ...], dtype: Any) -> int:
        self.slots.append(Slot(shape, numpy.dtype(dtype)))
        return len(self.slots) - 1


@dataclasses.dataclass(frozen=True)
class _SparseBatch:
    """Where the pixels of a gathered batch are, and how they are scaled."""

    starts: int
    entries: int
    indices: int
    lists: int
    room: int
    counts: int
    images: int
    scale: float
    offset: float


# The dtypes of what is not of the dtype of all floating-point arrays.
_STORED = {"images": ("uint8", "float"), "indices": ("int32",), "labels": ("int32",)}

_MATMUL: dict[str, Callable[..., None]] = {
    "": lambda left, right, out: numpy.matmul(left, right, out=out),
    "left": lambda left, right, out: numpy.matmul(left.T, right, out=out),
    "right": lambda left, right, out: numpy.matmul(left, right.T, out=out),
}
