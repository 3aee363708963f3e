"""A persistent kernel on a device: compiled, with the memory that it needs beside its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cupy
import numpy

from xpnet.replay.trace import Value
from xpnet_cupy import launch
from xpnet_cupy.persistent.code import source_of
from xpnet_cupy.persistent.fit import MOST_STEPS, Facts, Size
from xpnet_cupy.persistent.plan import Plan

Array = Any

# Bytes of shared memory that a block has without asking for more.
_SHARED = 48 * 1024


def facts(device: int) -> Facts:
    """Return what must be known of a device."""
    runtime = cupy.cuda.runtime
    return Facts(
        runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, device),
        runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        bool(runtime.deviceGetAttribute(runtime.cudaDevAttrCooperativeLaunch, device)),
    )


def _check_residency(function: Any, size: Size) -> None:
    """Raise RuntimeError unless all blocks can run at once on the current device.

    CuPy would launch fewer, with a warning, and they would wait for the others for ever.
    """
    of_each = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
        function.ptr, size.threads, size.shared
    )
    most = of_each * facts(cupy.cuda.runtime.getDevice()).multiprocessors
    if most < size.blocks:
        raise RuntimeError(f"only {most} of {size.blocks} blocks can run at once")


class Kernel:
    """The kernel of a plan, on the current device. CuPy keeps what it compiles on disk.

    Raises RuntimeError if not all blocks can run at once.

    Parameters
    ----------
    plan : Plan
    size : Size
    """

    def __init__(self, plan: Plan, size: Size) -> None:
        code = source_of(plan, blocks=size.blocks, threads=size.threads)
        raw = cupy.RawModule(code=code, options=launch.OPTIONS).get_function("persistent")
        if size.shared > _SHARED:
            raw.max_dynamic_shared_size_bytes = size.shared
        self._function = raw.kernel
        _check_residency(self._function, size)
        self._plan, self._size = plan, size
        self._scratch = cupy.empty((plan.scratch,), plan.dtype)
        self._barrier: Array = None
        # Scans on two streams would share the scratch memory and the barrier.
        self._done = cupy.cuda.Event(disable_timing=True)

    def scan(
        self,
        arrays: Sequence[Array],
        strides: Mapping[Value, int],
        numbers: numpy.ndarray,
        counts: Sequence[int],
        steps: int,
    ) -> None:
        """Carry out steps on the current stream, without waiting for it.

        Parameters
        ----------
        arrays : sequence of array
            For the arguments of the plan, in order, those of the first step.
        strides : mapping
            By argument: how many elements further the array of the next step begins, if it is another one.
        numbers : array, shape (steps, len(plan.numbers))
        counts : sequence of int
            Of the first step, in order.
        steps : int
        """
        plan, on_device = self._plan, cupy.asarray(numbers) if numbers.size else None
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(self._done)
        try:
            for done in range(0, steps, MOST_STEPS):
                offsets = (done * strides.get(value, 0) * value.dtype.itemsize for value in plan.arguments)
                addresses = [numpy.uintp(x.data.ptr + n) for x, n in zip(arrays, offsets, strict=True)]
                here = 0 if on_device is None else on_device[done:].data.ptr
                self._launch(
                    *addresses,
                    *(strides.get(value, 0) for value in plan.strided),
                    self._scratch,
                    numpy.uintp(here),
                    *(count + done for count in counts),
                    steps=min(MOST_STEPS, steps - done),
                )
        finally:
            self._done.record(stream)

    def _launch(self, *args: Any, steps: int) -> None:
        if self._barrier is None:
            self._barrier, self._arrived = cupy.zeros((1,), "uint32"), 0
        blocks, threads, shared = self._size
        last = self._barrier, numpy.uint32(self._arrived), numpy.int32(steps)
        try:
            # As an option of the module, CuPy would link a library of the toolkit, which the kernel does not
            # need, and its wheels do not have.
            self._function(
                (blocks,), (threads,), (*args, *last), shared_mem=shared, enable_cooperative_groups=True
            )
        except BaseException:  # How many blocks came to the barrier is unknown.
            self._barrier = None
            raise
        self._arrived = (self._arrived + steps * self._plan.barriers * blocks) % 2**32
