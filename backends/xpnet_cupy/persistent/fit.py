"""Whether a scan is one kernel or a graph for each step, and how many blocks and threads the kernel has.

This needs neither CuPy nor a device. Times were measured on an NVIDIA H200 (132 multiprocessors, 1.98 GHz,
float32), with a kernel of this form that was written by hand for one network: 784-64-10, batch 128, 6.3 us a
step. What they are for other networks is counted from these, and measured for none.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy

from xpnet.replay.trace import Trace
from xpnet_cupy.persistent.plan import Plan

MOST_STEPS = 1024
"""Steps of one launch, because a GPU that drives a display ends those of seconds; by 6.3 us a step, 7 ms."""

# The most first: 512 were measured, and others only tested.
_THREADS = 512, 256, 128

_CYCLES = 1980.0  # in a microsecond
# Measured, in cycles: of each row of the batch, the list of its pixels and the head, which includes the loss.
_ROW = 2100 + 1320
# Measured: 784 x 64 weights, of which the block read the 19 % whose pixels are not 0, took 3600 cycles.
_BYTES = 0.19 * 784 * 64 * 4 / 3600
# Measured: 448 weights of a block and a batch of 128 took 1900 to 2450 cycles.
_PRODUCTS = 448 * 128 / 2200
_BARRIER = 0.96  # us, 132 blocks
_MULTIPROCESSORS = 132

_NODE = 1.06  # us, of a graph, empty
# The faster of our kernels and cuBLAS in a graph, us: multiplications, then forward, backward and step. The
# first are those of 128 x 64 x 10, the others of cubes of 128, 192, 256, 512 and 1024.
_MEASURED = numpy.array(
    [
        (2**13 * 10, 2.2, 2.4, 3.0),
        (128**3, 3.5, 3.4, 4.0),
        (192**3, 6.9, 6.5, 7.3),
        (256**3, 8.7, 8.6, 12.2),
        (512**3, 16, 16, 22),
        (1024**3, 61, 62, 70),
    ]
).T
_BY_CALL = {"linear": [1], "linear_backward": [2, 3]}  # rows of these

NOTE = "each step is a CUDA graph, because a whole scan cannot be one kernel: {}"
"""What the report of a compiled step says about a fault."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What must be known of a device.

    Attributes
    ----------
    multiprocessors : int
    shared : int
        Bytes of shared memory that a block can ask for.
    is_cooperative : bool
        Whether it launches a kernel only if all blocks can run at once.
    """

    multiprocessors: int
    shared: int
    is_cooperative: bool


class Size(NamedTuple):
    """How a kernel is launched: blocks, threads of a block, and its bytes of shared memory."""

    blocks: int
    threads: int
    shared: int


class Choice(NamedTuple):
    """What does the steps.

    Attributes
    ----------
    size : Size or None
        Of the kernel; None for the graph.
    reason : str
    note : str
        What the report says: a fault of the device. Empty if there is none.
    """

    size: Size | None
    reason: str
    note: str = ""


def kernel_microseconds(plan: Plan, blocks: int, *, skipped: int = 0) -> float:
    """Return the predicted time of a step by the kernel, in microseconds.

    A block takes rows of the batch in turn. It reads the weights from the L2 cache for each of them.

    Parameters
    ----------
    plan : Plan
    blocks : int
        On as many multiprocessors.
    skipped : int
        Bytes of the weights that are not read, since pixels are 0.
    """
    in_turn = -(-plan.batch // blocks)
    row = _ROW + (plan.traffic - skipped) / max(plan.batch, 1) / _BYTES
    steps = plan.weights * plan.batch / blocks / _PRODUCTS
    return (in_turn * row + steps) / _CYCLES + plan.barriers * _BARRIER


def graph_microseconds(trace: Trace) -> float:
    """Return the predicted time of a step by a graph, in microseconds.

    Times of products are measured, and interpolated between the sizes that were. All else is counted as empty
    nodes, so that the graph is not chosen too rarely.
    """
    nodes, products = 2, 0.0  # what fetches indices, and gathers rows
    for call in trace.calls:
        if call.name in _BY_CALL and call.sizes is not None:
            size = call.sizes["batch"] * call.sizes["n_in"] * call.sizes["n_out"]
            columns = _BY_CALL[call.name]
            if call.name == "linear_backward" and call.result("dx") is None:
                columns = columns[1:]
            products += sum(float(numpy.interp(size, _MEASURED[0], _MEASURED[i])) for i in columns)
        elif call.function.is_loss or "key" in call.function.arguments:
            nodes += 1
    return nodes * _NODE + products


def size_of(plan: Plan, device: Facts) -> Size | None:
    """Return the size of the kernel: one block for each multiprocessor; None if its memory is too small."""
    for threads in _THREADS:
        shared = plan.shared(threads)
        if shared <= device.shared:
            return Size(device.multiprocessors, threads, shared)
    return None


def choice(plan: Plan, device: Facts, graph: float, *, skipped: int = 0) -> Choice:
    """Return whether the kernel or the graph does the steps, by their predicted times.

    Parameters
    ----------
    plan : Plan
    device : Facts
    graph : float
        See `graph_microseconds`.
    skipped : int
        See `kernel_microseconds`.
    """
    most = max(device.multiprocessors, _MULTIPROCESSORS)
    times = {n: kernel_microseconds(plan, n, skipped=skipped) for n in range(1, most + 1)}
    needed = next((n for n, found in times.items() if found <= graph), None)
    if needed is None:
        return Choice(None, f"a step takes {graph:.1f} us by the graph, {times[most]:.1f} by the kernel")
    size = size_of(plan, device)
    if size is None:
        asked = min(map(plan.shared, _THREADS))
        return Choice(None, f"a block needs {asked} bytes of shared memory, and can have {device.shared}")
    if not device.is_cooperative:
        return _fault("the device cannot launch kernels cooperatively")
    if size.blocks < needed:
        return _fault(f"the device has {size.blocks} multiprocessors, and the kernel needs {needed}")
    return Choice(size, f"a step takes {times[size.blocks]:.1f} us by the kernel, {graph:.1f} by the graph")


def _fault(found: str) -> Choice:
    return Choice(None, found, NOTE.format(found))
