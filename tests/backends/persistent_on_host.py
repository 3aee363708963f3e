"""Persistent kernels on this processor: g++ compiles them for a grid of stacks, on NumPy's arrays."""

import ctypes
import dataclasses
import math
import pathlib
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from steps import PLAIN, copied

from xpnet.replay.trace import Running, Value
from xpnet.replay.tracing import trace
from xpnet.replay.tree import leaves, rebuilt

HERE = pathlib.Path(__file__).parent

FORWARDS, BACKWARDS, LOCKSTEP, RANDOM = range(4)
NOWHERE, NO_BARRIER = 0, -1

# What a barrier has counted before a kernel begins: it wraps soon.
COUNTED = 2**32 - 5


class Order(ctypes.Structure):
    """See `Order` in cuda_grid_host.h."""

    _fields_ = (
        ("kind", ctypes.c_uint),
        ("seed", ctypes.c_uint),
        ("without_line", ctypes.c_int),
        ("without_barrier", ctypes.c_int),
        ("barriers", ctypes.c_int),
    )


class Grid(ctypes.Structure):
    """See `Grid` in cuda_grid_host.h."""

    _fields_ = (
        ("blocks", ctypes.c_uint),
        ("threads", ctypes.c_uint),
        ("shared", ctypes.c_size_t),
        ("begin", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
    )


class Memory:
    """Copies of arrays in one piece of memory, each at a multiple of 256 bytes, with some bytes between.

    Attributes
    ----------
    arrays : list of NumPy array
    """

    def __init__(self, arrays):
        self._spans, end = [], 256
        for x in arrays:
            self._spans.append((end, end + x.nbytes))
            end += x.nbytes + 512 - x.nbytes % 256
        raw = numpy.full(end + 256, 0xFF, numpy.uint8)
        self._bytes = raw[-raw.ctypes.data % 256 :][:end]
        self.arrays = [
            self._bytes[begin:end].view(x.dtype).reshape(x.shape)
            for (begin, end), x in zip(self._spans, arrays, strict=True)
        ]
        for copy, x in zip(self.arrays, arrays, strict=True):
            copy[...] = x

    def grid(self, blocks, threads, shared=0):
        """Return a `Grid` in this memory."""
        return Grid(blocks, threads, shared, self._bytes.ctypes.data, self._bytes.size)

    def check(self):
        """Fail if what is between the arrays was changed."""
        between = [0, *(x for span in self._spans for x in span), self._bytes.size]
        for begin, end in zip(between[::2], between[1::2], strict=True):
            assert (self._bytes[begin:end] == 0xFF).all()


def launch(entry, cells, grid, order):
    """Launch a kernel, given its arguments as values of C; return what went wrong, or None."""
    entry.restype = ctypes.c_char_p
    addresses = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
    fault = entry(addresses, ctypes.byref(grid), ctypes.byref(order))
    return None if fault is None else fault.decode()


def pointer(x):
    return ctypes.c_void_p(x.ctypes.data)


@dataclasses.dataclass(frozen=True)
class Steps:
    """What `xpnet.Namespace.scan` takes, on NumPy's arrays.

    Attributes
    ----------
    step : callable
    given : tuple of trees
        The carry of the first step, which stays as it is.
    rows : NumPy array or tuple of some
    constants : tuple of trees
    """

    step: Callable[..., Any]
    given: tuple[Any, ...]
    rows: Any
    constants: tuple[Any, ...]

    def arguments(self, rows):
        """Return the arguments of a step after its carry, of which it may change copies."""
        return *copied(self.given), rows, *self.constants

    @property
    def length(self):
        return len(self.rows[0] if type(self.rows) is tuple else self.rows)

    def expected(self):
        """Return the carry after all steps, as written."""
        return PLAIN.scan(self.step, copied(self.given), self.rows, *self.constants)

    def trace(self):
        return trace(PLAIN, self.step, self.arguments(row_of(self.rows, 0)))[1]


def row_of(rows, i):
    return tuple(x[i, ...] for x in rows) if type(rows) is tuple else rows[i, ...]


def steps_of(trainer, rows):
    """Return steps of a trainer by the twins; row `i` has the places of batch `i` in the data set."""
    total = numpy.zeros((), trainer._images.dtype)
    carry = trainer.params, trainer._state, total, trainer._next_step
    return Steps(trainer._step, carry, rows, (trainer._images.images, trainer._targets.arrays))


class Kernel:
    """A kernel that g++ compiled.

    Parameters
    ----------
    plan : Plan
    trace : Trace
    source : str
    entry : function of a library
    blocks, threads : int
    """

    def __init__(self, plan, trace, source, entry, *, blocks, threads):
        self.plan, self.source, self._trace, self._entry = plan, source, trace, entry
        self._size = blocks, threads, plan.shared(threads)
        results = leaves(trace.result)[1:]
        self._counted = {i: leaf for i, leaf in enumerate(results, 2) if isinstance(leaf, Running)}
        self._changed = {value.leaf for value in (*trace.changed, *plan.totals.values())}

    def scan(self, steps, *, order=FORWARDS, seed=0, lengths=None, line=NOWHERE, barrier=NO_BARRIER):
        """Return the carry after all steps.

        Parameters
        ----------
        steps : Steps
            Like those of the trace.
        order, seed : int
            Of the threads and blocks.
        lengths : list of int, optional
            The steps of each launch; one takes all if omitted.
        line : int
            Of a barrier of a block or a warp that is taken out.
        barrier : int
            The number of a barrier of the grid that is taken out.
        """
        found, plan = leaves((steps.arguments(steps.rows), {})), self.plan
        scratch = numpy.full(plan.scratch, numpy.nan, plan.dtype)
        counter = numpy.array([COUNTED], numpy.uint32)
        memory = Memory([*(found[place] for place in self._trace.given), scratch, counter])
        arrays = dict(zip((*self._trace.given, "scratch", "counter"), memory.arrays, strict=True))
        begin = 0
        for length in lengths or [steps.length]:
            cells = self._cells(found, arrays, begin, length)
            choice = Order(order, seed, line, barrier, plan.barriers)
            fault = launch(self._entry, cells, memory.grid(*self._size), choice)
            assert fault is None, fault
            begin += length
        assert begin == steps.length
        memory.check()
        for place in self._trace.given.keys() - self._changed:
            numpy.testing.assert_array_equal(arrays[place], found[place])
        return self._result(found, arrays)

    def _cells(self, found, arrays, begin, steps):
        """Return the arguments of a launch that takes some steps, and count on in `found`."""
        plan, counts = self.plan, [running.of(found) for running in self.plan.counts]
        self._numbers = numpy.zeros((steps, len(plan.numbers)), plan.dtype)
        for numbers in self._numbers:
            numbers[:] = [running.of(found) for running in plan.numbers]
            for place, running in self._counted.items():
                found[place] = running.of(found)
        # An array of rows has an axis more than the row that was traced.
        strides = {
            value: math.prod(value.shape) if arrays[value.leaf].ndim > len(value.shape) else 0
            for value in plan.arguments
        }
        assert all(stride == 0 or value in plan.strided for value, stride in strides.items())
        items = {value: arrays[value.leaf].reshape(-1)[begin * strides[value] :] for value in plan.arguments}
        return [
            *(pointer(items[value]) for value in plan.arguments),
            *(ctypes.c_longlong(strides[value]) for value in plan.strided),
            pointer(arrays["scratch"]),
            pointer(self._numbers),
            *map(ctypes.c_longlong, counts),
            pointer(arrays["counter"]),
            ctypes.c_uint(int(arrays["counter"][0])),
            ctypes.c_int(steps),
        ]

    def _result(self, found, arrays):
        """Return what the last step returned."""
        totals, flat = self.plan.totals, leaves(self._trace.result)
        made = [arrays[totals.get(x, x).leaf] if isinstance(x, Value) else x for x in flat]
        for place in self._counted:
            made[place - 1] = found[place]
        return rebuilt(self._trace.result, iter(made))


def library(code, folder, options=()):
    """Return C++ code as a library."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    (folder / "host.cpp").write_text(f'#include "{HERE / "cuda_grid_host.h"}"\n{code}', encoding="utf-8")
    # Fortified jumps would take one stack for another.
    options = [*options, "-std=c++20", "-O1", "-U_FORTIFY_SOURCE", "-shared", "-fPIC"]
    command = [
        compiler,
        *options,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "host.cpp",
        "-o",
        "host.so",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "host.so"))


def entry(name, kernel):
    """Return C++ code that launches a kernel, by `launch`."""
    return f"""
extern "C" const char* {name}(void** args, const grid::Grid* size, const grid::Order* order)
{{
    return grid::launch({kernel}, args, *size, *order);
}}
"""


def compiled(package, traces, folder, *, blocks, threads):
    """Return a kernel for each trace, all in one translation unit."""
    plans = [package.plan.plan_of(trace) for trace in traces]
    sources = [package.code.source_of(plan, blocks=blocks, threads=threads) for plan in plans]
    common = package.source.CODE
    code = [common]
    for i, source in enumerate(sources):
        (folder / f"kernel_{i}.cu").write_text(source, encoding="utf-8")
        # One copy of the other files is enough. A C name would be that of the other kernels too.
        own = source.replace(package.source.CODE, "\n" * package.source.CODE.count("\n")).replace(
            'extern "C"', ""
        )
        code.append(f'namespace kernel_{i} {{\n#line 1 "kernel_{i}.cu"\n{own}\n}}')
        code.append(entry(f"run_{i}", f"kernel_{i}::persistent"))
    options = [option for option in package.launch.OPTIONS if option.startswith("-D")]
    made = library("\n".join(code), folder, options)
    return [
        Kernel(plan, trace, source, made[f"run_{i}"], blocks=blocks, threads=threads)
        for i, (plan, trace, source) in enumerate(zip(plans, traces, sources, strict=True))
    ]
