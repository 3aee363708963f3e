"""The batch of a step: indices, labels, and images, which are not gathered if first layers read them stored.

A kernel that reads stored images takes less than one that gathers them and one that reads those: a pixel is a
byte, and one launch less. So a batch that only products of ours read is never an array of floats.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from xpnet.replay.lower import Lowering, Task
from xpnet.replay.trace import Call, Trace, Value
from xpnet_cupy import kernels, stored
from xpnet_cupy.convolution_shapes import shapes_of_call
from xpnet_cupy.dense import Dense, is_small
from xpnet_cupy.table import Table
from xpnet_cupy.together import gathers_labels, is_declared

RESHAPING = "flatten", "unflatten"


class Batches:
    """The tasks that begin a step.

    Parameters
    ----------
    table : Table
    dense : Dense
    """

    def __init__(self, table: Table, dense: Dense) -> None:
        self._table, self._dense = table, dense
        self._fetched: set[Value] = set()
        self._gathers: dict[Value, Call] = {}  # of batches that stay stored

    def gather(self, lowering: Lowering, call: Call) -> bool:
        """Gather images, and their labels if the step does so too."""
        of_labels, batches = gathers_labels(lowering, call), stored_batches(lowering.trace, call, self._dense)
        if batches:
            self._gathers |= dict.fromkeys(batches, call)
            lowering.take(*filter(None, map(lowering.trace.maker, batches[1:])))
            self.fetch(lowering, call.arrays["indices"], of_labels)
            return True
        self.fetch(lowering, call.arrays["indices"])
        if of_labels is None:
            lowering.add_call(call)
            return True
        lowering.take(of_labels)
        gather = functools.partial(kernels.gather, **call.numbers)
        inputs = call.arrays["images"], call.arrays["indices"], of_labels.arrays["labels"]
        lowering.add(Task("gather", gather, inputs, (*call.results, *of_labels.results)), at=call)
        return True

    def gather_labels(self, lowering: Lowering, call: Call) -> bool:
        """Gather labels by themselves."""
        self.fetch(lowering, call.arrays["indices"])
        lowering.add_call(call)
        return True

    def fetch(self, lowering: Lowering, argument: Value, of_labels: Call | None = None) -> None:
        """Copy an argument that is not changed, before all else, from wherever a call has it.

        With it, gather the labels of a call, if they are an argument too.
        """
        trace = lowering.trace
        if argument.leaf is None or argument in trace.changed | self._fetched:
            return
        self._fetched.add(argument)
        how: dict[str, Any] = {"shape": argument.shape, "dtype": argument.dtype}
        address = self._table.add(argument.leaf, advance=math.prod(argument.shape) * argument.dtype.itemsize)
        if of_labels is None or trace.maker(of_labels.arrays["labels"]):
            fetch = functools.partial(kernels.fetch, **how)
            lowering.add_first(Task("fetch", fetch, (address,), (argument,)))
            return
        lowering.take(of_labels)
        fetch = functools.partial(kernels.fetch_labels, **how)
        inputs, results = (address, of_labels.arrays["labels"]), (argument, *of_labels.results)
        lowering.add_first(Task("fetch", fetch, inputs, results))

    def reading(
        self, run: Callable[..., Any], x: Value, *others: Value
    ) -> tuple[Callable[..., Any], tuple[Value, ...]]:
        """Return a function of the input of a layer, and what it takes, as the input is stored or not."""
        gather = self._gathers.get(x)
        if gather is None:
            return run, (x, *others)
        rows = gather.arrays["images"], gather.arrays["indices"]
        return stored.reading(run, shape=x.shape, **gather.numbers), (*rows, *others)


def stored_batches(trace: Trace, gather: Call, dense: Dense) -> list[Value]:
    """Return the batch of a call, and its other shapes, if only layers that read it stored use it."""
    images, indices = gather.arrays["images"], gather.arrays["indices"]
    if images.dtype != "uint8" or indices.dtype != "int32" or not trace.changed.isdisjoint((images, indices)):
        return []
    found = [value for value in gather.results if value is not None]
    for value in found:
        if value in trace.returned | trace.changed:
            return []
        for user, argument in trace.users(value):
            if user.name in RESHAPING and argument == "x" and is_declared(user):
                found += [result for result in user.results if result is not None]
            elif not (argument == "x" and _reads_stored(user, dense)):
                return []
    return found


def _reads_stored(call: Call, dense: Dense) -> bool:
    """Return whether a call is of a layer whose kernels can read stored images."""
    if not is_declared(call) or (call.name.endswith("_backward") and call.result("dx") is not None):
        return False
    if call.name in ("conv2d", "conv2d_backward"):
        return shapes_of_call(call).is_small
    is_own = {"linear": dense.is_own, "linear_backward": is_small}.get(call.name)
    return is_own is not None and is_own(call.arrays["x"].shape[0], *call.arrays["weight"].shape)
