"""From the calls of a traced step to operations: the rules of this backend.

Most operations make each row of a result independently of the others. What has no operation, and matrix
products too large for ours, are called on the host, between stages.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from xpnet import nn
from xpnet.replay.lower import Lowering, Rule
from xpnet.replay.stages import Operation
from xpnet.replay.trace import Call, NotReplayableError, Trace, Value
from xpnet_numba import lazy
from xpnet_numba.counted import Count, counter, on_host
from xpnet_numba.image_rules import ImageRules
from xpnet_numba.norm_rules import NormRules
from xpnet_numba.operations import signature
from xpnet_numba.sum_rules import SumRules

Array = Any

BLOCKS, NARROW_BLOCKS = 4, 2
"""Into how many ranges the pixels of mostly empty images are divided, and for at most `NARROW` outputs. A
weight is used and changed by ranges of its rows, so that each stays in the cache of one processor; only the
sums of its products travel."""
NARROW = 128
LARGEST_PRODUCT = 2**30
"""Multiplications in the largest matrix product that is ours; beyond it BLAS is faster."""
LARGEST_LISTS = 2**22
"""Pixels of a batch, zeros included, up to which it is transposed: the lists take 4 bytes for each."""
DENSEST = 0.4
"""Fraction of pixels that are not 0, up to which to skip the others is faster."""


class Rules:
    """What becomes of the calls of a trace: see `xpnet.replay.lower.lower`.

    Parameters
    ----------
    trace : Trace

    Attributes
    ----------
    table : dict
        The rules, which add an `Operation` for each task, by the names of functions.
    others : tuple
        The rules for calls of other functions.
    dtype : NumPy dtype or None
        That of all floating-point arrays; None if they have several.
    compressed : dict of Value to tuple of Value
        By images: their `starts` and `entries`, see `images.compress`.
    places : dict of Value to Place
        Where values are that have no memory of their own.
    """

    def __init__(self, trace: Trace) -> None:
        dtypes = {value.dtype for value in trace.values if value.dtype.kind == "f"}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else None
        self.compressed: dict[Value, tuple[Value, Value]] = {}
        # Gathered batches that are not written out: where their images and their lists are, and the scaling.
        self._batches: dict[Value, tuple[dict[str, Value], dict[str, Value], dict[str, float]]] = {}
        self._blocks: dict[Value, int] = {}  # of compressed images, and of batches of them
        self._counts: dict[Any, Count] = {}
        self._masks: dict[Call, Value] = {}  # of dropout, by the calls that need them again
        # Values with other shapes in the memory of others.
        self._aliases: dict[Value, Value] = {}
        own = {name: self._own for name, function in nn.FUNCTIONS.items() if lazy.has_operation(function)}
        rules: dict[str, Rule] = {
            **ImageRules(self._add, self._value, self._alias).table,
            **NormRules(self._add, self._value).table,
            "gather_batch": self._gather_batch,
            "linear": self._linear,
            "linear_backward": self._linear_backward,
            "one_hot": self._one_hot,
            "softmax_cross_entropy": self._softmax_cross_entropy,
            **dict.fromkeys(
                ("flatten", "flatten_backward", "unflatten", "unflatten_backward"), self._reshape
            ),
        }
        rules = (
            own
            | {name: _if_constant(rule) for name, rule in rules.items()}
            | {
                "dropout": self._dropout,
                "dropout_backward": self._dropout_backward,
            }
        )
        self.table = {
            name: [_if(self._is_ours, rules[name]), self._host] if name in rules else [self._host]
            for name in nn.FUNCTIONS
        }
        sums = SumRules(trace, self._call, self._host, self._aliases)
        self.table |= sums.table
        self.places = sums.places
        self.others = (self._host,)

    def _is_ours(self, call: Call) -> bool:
        """Return whether operations take the arrays of a call: kernels trust dtypes and shapes."""
        if self.dtype not in ("float32", "float64") or call.sizes is None:
            return False
        dtypes = {"float": (self.dtype,), "stored": (self.dtype, "uint8"), "int": ("int32",)}
        forms = call.function.arrays
        return all(0 not in x.shape and x.dtype in dtypes[forms[key].kind] for key, x in call.arrays.items())

    def _value(self, shape: tuple[int, ...], dtype: Any = None) -> Value:
        """Return a new value, for operations only."""
        return Value(shape, numpy.dtype(dtype or self.dtype))

    def _alias(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a value with another shape in the memory of one."""
        alias = self._value(shape, value.dtype)
        self._aliases[alias] = self._stored(value)
        return alias

    def _stored(self, value: Value) -> Value:
        """Return the value in whose memory one is."""
        return self._aliases.get(value, value)

    def _add(
        self, lowering: Lowering, call: Call, name: str, numbers: Mapping[str, Any], /, **arrays: Value
    ) -> Operation:
        """Add an operation in the place of a call.

        Parameters
        ----------
        lowering : Lowering
        call : Call
        name : str
        numbers : mapping
            What the operation's numbers follow from, and its whole numbers.
        **arrays : Value

        Raises
        ------
        TypeError
            If the operation takes arrays or numbers of other names, or the arrays do not fit.
        """
        declared = signature(name)
        counts = {key: numbers[key] for key in declared.counts}
        declared.check((*arrays, *declared.numbers, *counts), "it is given")
        length, sizes = declared.divide(arrays, self.dtype)
        operands = tuple(self._stored(arrays[key]) for key in declared.operands)
        values = declared.values(**{key: n for key, n in numbers.items() if key not in counts})
        sizes = *sizes, *counts.values()
        operation = Operation(declared.kernel, operands, declared.access, length, sizes, values)
        lowering.add(operation, at=call)
        return operation

    def _own(self, lowering: Lowering, call: Call) -> bool:
        """Add the operation that the function itself is."""
        self._add_own(lowering, call, call.name)
        return True

    def _add_own(self, lowering: Lowering, call: Call, name: str, **more: Value) -> None:
        """Add an operation that takes the arrays and the numbers of a call, and perhaps more arrays."""
        results: Any = dict(zip(call.function.results, call.results, strict=True))
        running = call.running
        numbers = {**call.numbers, **dict.fromkeys(running, 1)}
        operation = self._add(lowering, call, name, numbers, **{**call.arrays, **results, **more})
        if running:
            # Steps of all parameters have the same numbers, which are computed once.
            key = name, *numbers.items(), *running.values()
            operation.count = self._counts.setdefault(key, counter(name, numbers, running))

    def _dropout(self, lowering: Lowering, call: Call) -> bool:
        """Keep the mask for the gradient, if that is computed: drawing it again would take as long."""
        x = call.arrays["x"]
        again = [
            other
            for other in lowering.trace.calls
            if other.name == "dropout_backward"
            and other.numbers == call.numbers
            and self._is_ours(other)
            and other.arrays["dy"].shape == x.shape
        ]
        if not again:
            return self._own(lowering, call)
        mask = self._value(x.shape)
        self._add_own(lowering, call, "dropout_keeping", mask=mask)
        self._masks.update(dict.fromkeys(again, mask))
        return True

    def _dropout_backward(self, lowering: Lowering, call: Call) -> bool:
        if call not in self._masks:
            return self._own(lowering, call)
        (dx,) = _results(call)
        self._add(lowering, call, "keep", {}, dy=call.arrays["dy"], mask=self._masks[call], dx=dx)
        return True

    def _call(
        self,
        lowering: Lowering,
        call: Call,
        function: Callable[..., None],
        inputs: Sequence[Value],
        results: Sequence[Value],
        count: Count | None = None,
        *,
        has_threads: bool = True,
    ) -> None:
        """Let the host call a function, which takes the arrays to be read and those to be written."""
        values = *inputs, *results
        access = "R" * len(inputs) + ("U" if call.changed else "W") * len(results)
        if not self._aliases.keys().isdisjoint(values):
            function = _reshaping(function, [value.shape for value in values])
        operands = tuple(map(self._stored, values))
        operation = Operation(
            call.name, operands, access, count=count, host=function, has_threads=has_threads
        )
        lowering.add(operation, at=call)

    def _host(self, lowering: Lowering, call: Call, *, has_threads: bool = True) -> bool:
        """Call the function on the host, and copy its results to where they are expected."""
        if not self._batches.keys().isdisjoint(call.arrays.values()):
            # A batch of mostly empty images is never written out.
            raise NotReplayableError(
                f"`nn.{call.name}` is given images and arrays of unusual shapes or dtypes"
            )
        run, count = on_host(call)
        inputs = tuple(call.arrays.values())
        results = tuple(value for value in call.results if value is not None)
        if count is None and getattr(call.run, "writes", False):
            run = call.run.into  # type: ignore[attr-defined]
        self._call(lowering, call, run, inputs, results, count, has_threads=has_threads)
        return True

    def _reshape(self, lowering: Lowering, call: Call) -> bool:
        """Let the result be in the memory of the array, unless someone could see that."""
        value, (result,) = [*call.arrays.values()][-1], _results(call)
        trace = lowering.trace
        if (
            value in trace.arguments
            or not trace.changed.isdisjoint((value, result))
            or result in trace.returned
        ):
            return False
        self._aliases[result] = self._stored(value)
        return True

    def _gather_batch(self, lowering: Lowering, call: Call) -> bool:
        images, indices, (x, *_) = call.arrays["images"], call.arrays["indices"], _results(call)
        scaling = {key: call.numbers[key] for key in ("scale", "offset")}
        if images.dtype != "uint8" or not self._is_sparse(lowering.trace, call):
            name = "gather" if images.dtype == "uint8" else "gather_floats"
            self._add(lowering, call, name, scaling, **call.arrays, x=x)
            return True
        n, pixels = images.shape
        if images not in self.compressed:
            widest = max(user.arrays["weight"].shape[1] for user, _ in lowering.trace.users(x))
            self._blocks[images] = blocks = NARROW_BLOCKS if widest <= NARROW else BLOCKS
            self.compressed[images] = self._value((n * blocks + 1,), "int64"), self._value((0,), "uint32")
        starts, entries = self.compressed[images]
        # A cache line more than a list can fill, or the ends of lists would meet in the same sets of a cache.
        room = -(-x.shape[0] // 32) * 32 + 16
        lists, counts = self._value((pixels * room,), "uint32"), self._value((pixels,), "int64")
        found = {"starts": starts, "entries": entries, "indices": indices}
        self._batches[x] = found, {"lists": lists, "counts": counts}, scaling
        self._blocks[x] = self._blocks[images]
        return True

    def _is_sparse(self, trace: Trace, call: Call) -> bool:
        """Return whether to skip the zeros of these images: few pixels, used in linear layers only."""
        images, (x,) = trace.arguments.get(call.arrays["images"]), _results(call)
        users = trace.users(x)
        # The first product lists the pixels for the gradients.
        if images is None or images.ndim != 2 or x in trace.returned:
            return False
        if not users or users[0][0].name != "linear":
            return False
        for user, key in users:
            if (
                key != "x"
                or user.name not in ("linear", "linear_backward")
                or user.numbers.get("input_gradient")
            ):
                return False
        fits = images.shape[1] < 2**24 and images.shape[1] * x.shape[0] <= LARGEST_LISTS
        return fits and numpy.count_nonzero(images) <= DENSEST * images.size

    def _linear(self, lowering: Lowering, call: Call) -> bool:
        add, (z,) = functools.partial(self._add, lowering, call), _results(call)
        x, weight, bias = call.arrays.values()
        if x in self._batches:
            images, lists, scaling = self._batches[x]
            scale, offset = scaling["scale"], scaling["offset"]
            partials = self._value((self._blocks[x], *z.shape))
            add("multiply_sparse", {"scale": scale}, weight=weight, partials=partials, **images, **lists)
            if offset:
                folded = self._value(bias.shape)
                add("add_offset", {"offset": offset}, weight=weight, bias=bias, folded=folded)
                bias = folded
            add("add_partials", {}, partials=partials, bias=bias, y=z)
        elif _is_large(call):
            self._call(lowering, call, _affine, (x, weight, bias), (z,))
        else:
            add("multiply", {"transposed": 0}, left=x, right=weight, bias=bias, out=z)
        return True

    def _linear_backward(self, lowering: Lowering, call: Call) -> bool:
        add, (dx, d_weight, d_bias) = functools.partial(self._add, lowering, call), _results(call)
        x, weight, dy = call.arrays.values()
        nothing = self._value((0,))
        if dx is not None and _is_large(call):
            self._call(lowering, call, lambda x, y, out: numpy.matmul(x, y.T, out=out), (dy, weight), (dx,))
        elif dx is not None:
            transposed = self._value(weight.shape[::-1])
            add("transpose", {}, x=weight, out=transposed)
            add("multiply", {"transposed": 0}, left=dy, right=transposed, bias=nothing, out=dx)
        if x in self._batches:
            _, lists, scaling = self._batches[x]
            add("differentiate_sparse", scaling, dy=dy, d_weight=d_weight, **lists)
        elif _is_large(call):
            self._call(lowering, call, lambda x, y, out: numpy.matmul(x.T, y, out=out), (x, dy), (d_weight,))
        else:
            add("multiply_transposed", {"transposed": 1}, left=x, right=dy, bias=nothing, out=d_weight)
        add("add_rows", {}, x=dy, total=d_bias)
        return True

    def _one_hot(self, lowering: Lowering, call: Call) -> bool:
        (targets,) = _results(call)
        if targets.dtype != self.dtype:
            return False
        self._add(lowering, call, "one_hot", {}, labels=call.arrays["labels"], targets=targets)
        return True

    def _softmax_cross_entropy(self, lowering: Lowering, call: Call) -> bool:
        add, (loss, d_logits) = functools.partial(self._add, lowering, call), _results(call)
        (batch,) = call.arrays["labels"].shape
        losses = self._value((batch,), "float64")
        add("softmax_cross_entropy", {"scale": 1 / batch}, **call.arrays, d_logits=d_logits, losses=losses)
        add("mean", {}, losses=losses, loss=loss)
        return True


def _if(condition: Callable[[Call], bool], rule: Rule) -> Rule:
    return lambda lowering, call: condition(call) and rule(lowering, call)


def _if_constant(rule: Rule) -> Rule:
    """Return a rule that takes only calls whose numbers do not differ from call to call."""
    return lambda lowering, call: not call.running and rule(lowering, call)


def _reshaping(function: Callable[..., None], shapes: Sequence[tuple[int, ...]]) -> Callable[..., None]:
    """Return a function that first gives its arrays these shapes."""
    return lambda *arrays: function(*[x.reshape(shape) for x, shape in zip(arrays, shapes, strict=True)])


def _results(call: Call) -> Any:
    return call.results  # of which only `dx` can be None


def _is_large(call: Call) -> bool:
    """Return whether the products of a linear layer are so large that BLAS is faster."""
    sizes: Any = call.sizes
    return sizes["batch"] * sizes["n_in"] * sizes["n_out"] > LARGEST_PRODUCT


def _affine(x: Array, weight: Array, bias: Array, z: Array) -> None:
    numpy.matmul(x, weight, out=z)
    z += bias
