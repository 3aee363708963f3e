"""The package `xpnet_cupy` on this processor: NumPy replaces CuPy's arrays, and g++ compiles its CUDA files.

A stream that captures only notes what is launched, and a graph launches it, with the real kernels.
"""

import contextlib
import ctypes
import functools
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
from typing import ClassVar
from unittest import mock

import numpy
import persistent_on_host
import pytest

import xpnet
from xpnet.replay.replayed import Replayed

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[1] / "backends" / "xpnet_cupy"


class Array(numpy.ndarray):
    """A NumPy array that has its address in the attribute that CuPy uses."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    def set(self, host):
        self[...] = host


def own(x):
    return numpy.asarray(x).view(Array)


def unfilled(shape, dtype=float):
    x = numpy.empty(shape, dtype)
    x.fill(numpy.nan if x.dtype.kind == "f" else 99)  # so that a test sees what is never written
    return own(x)


class Graph:
    def __init__(self, launches):
        self.launches = launches

    def launch(self):
        for launch in self.launches:
            submit(launch)


class Stream:
    _current: ClassVar[list] = []

    def __init__(self, non_blocking=False):
        self.ptr, self._launches = id(self), None

    def __enter__(self):
        self._current.append(self)
        return self

    def __exit__(self, *exception):
        self._current.pop()

    def begin_capture(self):
        self._launches = []

    def end_capture(self):
        launches, self._launches = self._launches, None
        return Graph(launches)

    def synchronize(self):
        assert self._launches is None, "a stream that captures cannot be waited for"

    def wait_event(self, event):
        assert self._launches is None
        event.waits.append(self)


class Event:
    """Notes the streams that it was recorded on, and those that waited for it."""

    def __init__(self, *, disable_timing):
        assert disable_timing
        self.records, self.waits = [], []

    def record(self, stream):
        self.records.append(stream)


@contextlib.contextmanager
def waiting_refused():
    """Refuse for a while what makes the host wait for a device."""

    def refuse(*args):
        raise AssertionError("the device was waited for")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "synchronize", refuse)
        for name in ("__bool__", "__float__", "__int__", "__index__", "__iter__", "item", "tolist"):
            patch.setattr(Array, name, refuse)
        yield


DEFAULT = Stream()


def current_stream():
    return Stream._current[-1] if Stream._current else DEFAULT


def submit(launch):
    """Do a launch now, or note it if the current stream captures."""
    launches = current_stream()._launches
    if launches is None:
        launch()
    else:
        launches.append(launch)


def multiply(left, right, *, transposed="", tf32=False):
    """Return the product of two matrices, in the place of cuBLAS."""
    factors = left.T if transposed == "left" else left, right.T if transposed == "right" else right
    out = unfilled((factors[0].shape[0], factors[1].shape[1]), left.dtype)
    submit(lambda: numpy.matmul(*factors, out=out))
    return out


ATTRIBUTES = {
    "MultiProcessorCount": 3,
    "MaxSharedMemoryPerBlockOptin": 99 * 1024,
    "CooperativeLaunch": 1,
}
"""Of the device, as CUDA names them."""


class RawModule:
    """A module of one cooperative kernel, as CuPy compiles it: by g++, for the grid of cuda_grid_host.h."""

    def __init__(self, *, code, options):
        self._code, self._options = code, options

    def get_function(self, name):
        return Cooperative(_compiled_grid(self._code, self._options, name))


class Cooperative:
    """A cooperative kernel; as `kernel`, the function of the driver, it is itself.

    Attributes
    ----------
    max_dynamic_shared_size_bytes : int
    resident : int
        How many blocks a multiprocessor can have at once.
    launches : list of int
        The steps of each launch, of all kernels.
    """

    resident: ClassVar[int] = 1
    launches: ClassVar[list] = []

    def __init__(self, entry):
        self._entry, self.max_dynamic_shared_size_bytes = entry, 48 * 1024
        self.kernel = self.ptr = self

    def __call__(self, grid, block, args, *, shared_mem, enable_cooperative_groups):
        assert enable_cooperative_groups
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self.launches.append(int(args[-1]))
        size = persistent_on_host.Grid(*grid, *block, shared_mem)
        submit(lambda: self._launch(size, args))

    def _launch(self, size, args):
        cells = _cells(args)
        fault = self._entry(_addresses(cells), ctypes.byref(size), ctypes.byref(FORWARDS))
        assert fault is None, fault.decode()


FORWARDS = persistent_on_host.Order(persistent_on_host.FORWARDS, 0, 0, persistent_on_host.NO_BARRIER, 2)


@functools.cache
def _compiled_grid(code, options, name):
    """Return the function of a library that launches a kernel; it returns what went wrong, if anything."""
    code = "\n".join([code, persistent_on_host.entry("run", name)])
    options = [option for option in options if option.startswith("-D")]
    with tempfile.TemporaryDirectory() as folder:
        entry = persistent_on_host.library(code, pathlib.Path(folder), options).run
    entry.restype = ctypes.c_char_p
    return entry


class _Device(contextlib.nullcontext):
    id = 0


def _make_cupy():
    cupy = types.ModuleType("cupy")
    vars(cupy).update((k, v) for k, v in vars(numpy).items() if not k.startswith("__"))
    cupy.asarray = lambda x, **options: own(numpy.array(x, **options))
    cupy.empty = unfilled
    cupy.zeros = lambda shape, dtype=float: own(numpy.zeros(shape, dtype))
    cupy.arange = lambda *args, **options: own(numpy.arange(*args, **options))
    cupy.asnumpy = numpy.array
    cupy.RawModule = RawModule
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(
            **{f"cudaDevAttr{name}": name for name in ATTRIBUTES},
            deviceGetAttribute=lambda name, device: ATTRIBUTES[name],
            getDevice=lambda: 0,
            streamPerThread=2,
            runtimeGetVersion=lambda: 13020,
            driverGetVersion=lambda: 13020,
            deviceGetPCIBusId=lambda device: f"0000:{os.getpid():x}:00.0",  # a GPU for each process
        ),
        driver=types.SimpleNamespace(
            occupancyMaxActiveBlocksPerMultiprocessor=lambda ptr, threads, shared: ptr.resident
        ),
        get_current_stream=current_stream,
        Stream=Stream,
        Event=Event,
        Device=_Device,
        MemoryPool=lambda: types.SimpleNamespace(malloc=None, total_bytes=lambda: 512),
        using_allocator=lambda malloc: contextlib.nullcontext(),
    )
    return cupy


def load(folder=FOLDER):
    """Return the modules of a copy of `xpnet_cupy`, imported with a stand-in for CuPy, and that stand-in."""
    package, cupy = types.ModuleType("xpnet_cupy"), _make_cupy()
    package.__path__ = [str(folder)]
    names = (
        "source",
        "launch",
        "kernels",
        "rules",
        "stored",
        "dense",
        "convolution",
        "convolution_shapes",
        "pooling",
        "normalisation",
        "batch_normalisation",
        "synchronised",
        "augmentation",
        "collective",
        "shapes",
        "functions",
        "together",
        "batches",
        "fusion",
        "table",
        "graphs",
        "scratch",
        "failures",
        "blas",
        "capture",
        "ways",
        "sums",
        "persistent.numbers",
        "probing",
        "persistent.plan",
        "persistent.code",
        "persistent.fit",
        "persistent.series",
        "persistent.kernel",
        "persistent.program",
        "programs",
    )
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.startswith("xpnet_cupy.")]:
            del sys.modules[name]
        sys.modules.update(xpnet_cupy=package, cupy=cupy)
        found = {name.split(".")[-1]: importlib.import_module(f"xpnet_cupy.{name}") for name in names}
    return types.SimpleNamespace(**found, cupy=cupy)


def symbols(source):
    """Return the C++ names of all kernels, made for all that they can be made for."""
    return [symbol for name in source.KERNELS for symbol in source.symbols(name)]


def compiled(package, folder, *, only=None):
    """Return the CUDA files as a library for this processor, with all its kernels or only some."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    entries = [
        f'extern "C" void {_entry(symbol)}(void** args, unsigned blocks, unsigned threads)'
        f" {{ launch({symbol}, args, blocks, threads); }}"
        for symbol in only or symbols(package.source)
    ]
    sizes = [
        f'extern "C" int size_of_{struct}_{kind}() {{ return sizeof({struct}<{kind}>); }}'
        for struct in package.source.RULES.values()
        for kind in ("float", "double")
    ]
    code = f'#include "{HERE / "cuda_host.h"}"\n{package.source.CODE}'
    (folder / "host.cpp").write_text("\n".join([code, *entries, *sizes]), encoding="utf-8")
    options = [option for option in package.launch.OPTIONS if option.startswith("-D")]
    options += ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command = [compiler, *options, "host.cpp", "-o", "host.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "host.so"))


def _entry(symbol):
    return "".join(c if c.isalnum() else "_" for c in symbol)


def kernel_of(library):
    """Return what replaces `kernels._kernel`."""

    def kernel(symbol):
        entry = library[_entry(symbol)]
        return lambda grid, block, args: submit(lambda: _call(entry, grid, block, args))

    return kernel


def _call(entry, grid, block, args):
    cells = _cells(args)
    entry(_addresses(cells), *grid, *block)


def _cells(args):
    """Return arguments as CuPy passes them.

    An array is its address, an int has 64 bits, and a NumPy scalar or struct is passed as it is.
    """
    is_array = [isinstance(a, numpy.ndarray) and a.dtype.names is None for a in args]
    cells = [numpy.asarray(a.ctypes.data if by else a) for a, by in zip(args, is_array, strict=True)]
    assert all(cell.shape == () for cell in cells)
    return cells


def _addresses(cells):
    return (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))


class NCCL:
    """Stands for `cupy.cuda.nccl`: a group adds the arrays up on the host, without one they stay.

    Attributes
    ----------
    calls : list of bool
        For each sum, whether it was captured.
    """

    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = ctypes.c_float, ctypes.c_double, "sum"

    def __init__(self, *, available=True, group=None, fault=None):
        self.available, self.calls, self.aborted = available, [], 0
        self._group, self._fault = group, fault

    def get_version(self):
        return 22707

    def get_unique_id(self):
        return bytes(128)

    def NcclCommunicator(self, size, key, rank):  # noqa: N802
        assert key == bytes(128)
        if self._fault is not None:
            raise self._fault
        return types.SimpleNamespace(allReduce=self._all_reduce, abort=self._abort)

    def _abort(self):
        self.aborted += 1

    def _all_reduce(self, given, result, count, kind, operation, stream):
        assert given == result
        assert operation == self.NCCL_SUM
        assert stream == current_stream().ptr
        x = numpy.ctypeslib.as_array((kind * count).from_address(given))
        self.calls.append(current_stream()._launches is not None)
        submit(lambda: self._group and self._group.sum(x))


def namespace(package, *, tf32=False, programs=None):
    """Return the backend's namespace on this processor.

    Steps are replayed by graphs, or as a module of the package does it.
    """
    dense = package.dense.Dense(tf32=tf32)
    program_of = programs.program_of if programs else package.graphs.CuPyProgram
    all_reduce = functools.partial(package.sums.all_reduce, package.cupy.cuda.Device())
    return xpnet.Namespace(
        "cupy",
        package.cupy,
        fused=package.functions.functions(dense),
        device=xpnet.Device(all_reduce=all_reduce),
        compile=lambda step: Replayed(step, functools.partial(program_of, dense=dense)),
    )
