"""`kernels.cu` without a GPU: NVRTC compiles it for real devices, and g++ compiles it to be run here.

The Python side is run too, with NumPy in CuPy's place, so none of this needs CuPy.
"""

import ctypes
import importlib
import inspect
import pathlib
import shutil
import subprocess
import sys
import types
from unittest import mock

import numpy
import pytest

from xpnet import nn

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[1] / "backends" / "xpnet_cupy"
SOURCE = FOLDER / "kernels.cu"
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
DTYPES = ("float32", "float64")


@pytest.fixture(scope="module")
def kernels():
    """The module `xpnet_cupy.kernels`, imported around a package and a CuPy that may not be there."""
    package = types.ModuleType("xpnet_cupy")
    package.__path__ = [str(FOLDER)]
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.startswith("xpnet_cupy.")]:
            del sys.modules[name]
        sys.modules.update(xpnet_cupy=package, cupy=numpy)
        yield importlib.import_module("xpnet_cupy.kernels")


@pytest.fixture(scope="module")
def launch(kernels):
    return kernels.launch


@pytest.fixture(scope="module")
def host(kernels, tmp_path_factory):
    """The functions of `xpnet_cupy.kernels`, with `kernels.cu` compiled by g++ under them."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    library = _compile(compiler, kernels.launch, tmp_path_factory.mktemp("host"))

    def kernel(name, *dtypes):
        entry = library[_entry(kernels.launch.symbol(name, *dtypes))]
        return lambda grid, block, args: _call(entry, grid, block, args)

    with mock.patch.object(kernels, "_kernel", kernel):
        yield types.SimpleNamespace(**kernels.FUSED)


def _compile(compiler, launch, folder):
    entries = [
        f'extern "C" void {_entry(symbol)}(void** args, unsigned blocks, unsigned threads)'
        f" {{ launch({symbol}, args, blocks, threads); }}"
        for symbol in launch.SYMBOLS.values()
    ]
    lines = [f'#include "{HERE / "cuda_host.h"}"', f'#include "{SOURCE}"', *entries]
    (folder / "host.cpp").write_text("\n".join(lines), encoding="utf-8")
    options = [option for option in launch.OPTIONS if option.startswith("-D")]
    options += ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]
    command = [compiler, *options, "host.cpp", "-o", "host.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "host.so"))


def _entry(symbol):
    return "".join(c if c.isalnum() else "_" for c in symbol)


def _call(entry, grid, block, args):
    # As CuPy passes them: an array by its address, an int as 64 bits, a NumPy scalar as it is.
    cells = [numpy.asarray(a.ctypes.data if isinstance(a, numpy.ndarray) else a) for a in args]
    entry((ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells)), *grid, *block)


def _draw(*shape, dtype, seed=0, scale=3.0):
    x = numpy.asarray(numpy.random.default_rng(seed).standard_normal(shape) * scale, dtype=dtype)
    x.flags.writeable = False
    return x


def _check(found, expected, dtype):
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    tolerance = TOLERANCE[numpy.dtype(dtype).name]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        numpy.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_every_kernel_without_a_warning(architecture, launch):
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", exc_type=ImportError)

    def ask(function, *args):
        status, *results = function(*args)
        return status, results[0] if results else None

    code = SOURCE.read_bytes()
    try:
        status, program = ask(nvrtc.nvrtcCreateProgram, code, b"kernels.cu", 0, [], [])
    except RuntimeError as e:
        pytest.skip(f"NVRTC cannot be loaded: {e}")
    assert status == 0
    for symbol in launch.SYMBOLS.values():
        assert ask(nvrtc.nvrtcAddNameExpression, program, symbol.encode())[0] == 0
    # CuPy adds the flushing of denormals to its own compilations.
    options = [*launch.OPTIONS, "-ftz=true", f"-arch={architecture}"]
    status, _ = ask(nvrtc.nvrtcCompileProgram, program, len(options), [o.encode() for o in options])
    log = bytearray(ask(nvrtc.nvrtcGetProgramLogSize, program)[1])
    ask(nvrtc.nvrtcGetProgramLog, program, log)
    assert log.decode().strip("\0\n ") == ""
    assert status == 0
    cubin = bytearray(ask(nvrtc.nvrtcGetCUBINSize, program)[1])
    ask(nvrtc.nvrtcGetCUBIN, program, cubin)
    for symbol in launch.SYMBOLS.values():
        status, lowered = ask(nvrtc.nvrtcGetLoweredName, program, symbol.encode())
        assert status == 0, symbol
        assert lowered in cubin, symbol
    ask(nvrtc.nvrtcDestroyProgram, program)


def test_every_kernel_of_the_source_is_named_for_python(launch):
    text = SOURCE.read_text(encoding="utf-8")
    in_source = {after.split("(")[0].split()[-1] for after in text.split("__global__ void")[1:]}
    assert in_source == {name for name, *_ in launch.SYMBOLS}


def test_fused_functions_have_the_parameters_of_their_twins(kernels):
    for name, function in kernels.FUSED.items():
        twin = list(inspect.signature(getattr(nn, name)).parameters.values())[1:]
        found = list(inspect.signature(function).parameters.values())
        assert [(p.name, p.kind, p.default) for p in found] == [(p.name, p.kind, p.default) for p in twin], (
            name
        )


def test_blocks_cover_the_numbers_up_to_a_limit(launch):
    assert [launch.blocks(n) for n in (0, 1, 256, 257)] == [0, 1, 1, 2]
    assert launch.blocks(2**40) == launch.MAX_BLOCKS


@pytest.mark.parametrize("width", [1, 2, 31, 32, 33, 100, 255, 256, 257, 5000])
def test_threads_of_a_row_are_a_power_of_two_from_a_warp_to_a_block(width, launch):
    threads = launch.threads(width)
    assert threads & (threads - 1) == 0
    assert launch.WARP <= threads <= launch.THREADS
    assert threads >= min(width, launch.THREADS)


def test_rows_are_what_lies_before_the_last_axis(launch):
    assert [launch.rows(shape) for shape in ((5, 3), (0, 3), (7,), (2, 3, 4))] == [5, 0, 1, 6]


def test_symbol_refuses_a_dtype_that_has_no_kernel(launch):
    with pytest.raises(TypeError, match=r"'relu' has no CUDA kernel for float16: .*relu<double>"):
        launch.symbol("relu", numpy.dtype("float16"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 257), ()])
@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_activations_match_their_twins(name, shape, dtype, host):
    z = _draw(*shape, dtype=dtype)
    _check(getattr(host, name)(z), getattr(nn, name)(numpy, z), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_activations_match_their_twins_at_the_edges(name, dtype, host):
    z = numpy.asarray([numpy.nan, numpy.inf, -numpy.inf, 1e4, -1e4, 0.0, -0.0], dtype=dtype)
    _check(getattr(host, name)(z), getattr(nn, name)(numpy, z), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu_backward", "sigmoid_backward", "tanh_backward"])
def test_gradients_of_activations_match_their_twins(name, dtype, host):
    y = _draw(3, 97, dtype=dtype, scale=1).copy()
    y[0, :2] = numpy.nan, 0.0
    dy = _draw(3, 97, dtype=dtype, seed=1)
    _check(getattr(host, name)(y, dy), getattr(nn, name)(numpy, y, dy), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 10, 33, 1000])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_row_functions_and_their_gradients_match_their_twins(name, classes, dtype, host):
    z = _draw(3, classes, dtype=dtype)
    dy = _draw(3, classes, dtype=dtype, seed=1, scale=1)
    y = getattr(nn, name)(numpy, z)
    _check(getattr(host, name)(z), y, dtype)
    gradient = f"{name}_backward"
    _check(getattr(host, gradient)(y, dy), getattr(nn, gradient)(numpy, y, dy), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_row_functions_match_their_twins_at_the_edges(name, dtype, host):
    z = numpy.asarray([[1e4, -1e4, 0.0], [numpy.nan, 1.0, 2.0], [5.0, 5.0, 5.0]], dtype=dtype)
    _check(getattr(host, name)(z), getattr(nn, name)(numpy, z), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "classes"), [(1, 1), (1, 10), (13, 10), (3, 33), (2, 1000)])
def test_softmax_cross_entropy_matches_its_twin(batch, classes, dtype, host):
    logits = _draw(batch, classes, dtype=dtype)
    labels = numpy.arange(batch, dtype=numpy.int32) * 7 % classes
    expected = nn.softmax_cross_entropy(numpy, logits, labels)
    _check(host.softmax_cross_entropy(logits, labels), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_cross_entropy_matches_its_twin_at_the_edges(dtype, host):
    logits = numpy.asarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype)
    for labels in ([0, 1], [1, 0], [-1, 3]):
        labels = numpy.asarray(labels)
        expected = nn.softmax_cross_entropy(numpy, logits, labels)
        _check(host.softmax_cross_entropy(logits, labels), expected, dtype)
    logits[0, 2] = numpy.nan
    expected = nn.softmax_cross_entropy(numpy, logits, labels)
    _check(host.softmax_cross_entropy(logits, labels), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 130)])
@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "squared_error"])
def test_losses_of_single_numbers_match_their_twins(name, shape, dtype, host):
    outputs = _draw(*shape, dtype=dtype).copy()
    outputs[0, 0] = 1e4
    targets = (_draw(*shape, dtype=dtype, seed=1) > 0).astype(dtype)
    _check(getattr(host, name)(outputs, targets), getattr(nn, name)(numpy, outputs, targets), dtype)


@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "squared_error"])
def test_losses_of_more_numbers_than_threads_match_their_twins(name, host, launch, monkeypatch):
    monkeypatch.setattr(launch, "MAX_BLOCKS", 3)
    outputs, targets = (_draw(7, 331, dtype="float64", seed=seed) for seed in (0, 1))
    expected = getattr(nn, name)(numpy, outputs, targets)
    _check(getattr(host, name)(outputs, targets), expected, "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("pixel", ["uint8", "float32", "float64"])
def test_gather_batch_matches_its_twin(pixel, index, dtype, host):
    images = (numpy.arange(11 * 300) * 37 % 256).astype(pixel).reshape(11, 300)
    indices = numpy.asarray([10, 0, 3, 3], dtype=index)
    for scale, offset in ((1 / 255, 0.0), (1.0, 0.0), (2 / 255, -1.0)):
        options = {"scale": scale, "offset": offset, "dtype": numpy.dtype(dtype)}
        expected = nn.gather_batch(numpy, images, indices, **options)
        _check(host.gather_batch(images, indices, **options), expected, dtype)


STEPS = {
    "sgd_step": (0, (0.1,)),
    "momentum_step": (1, (0.1, 0.9)),
    "nesterov_step": (1, (0.1, 0.9)),
    "adam_step": (2, (3, 0.1, 0.9, 0.999, 1e-8)),
}


def _stepped(function, arrays, numbers):
    arrays = [x.copy(order="K") for x in arrays]
    result = function(*arrays, *numbers)
    return result if isinstance(result, tuple) else (result,), arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", STEPS)
def test_steps_match_their_twins_and_work_in_place(name, order, dtype, host):
    n_state, numbers = STEPS[name]
    arrays = [
        numpy.asarray(abs(_draw(33, 9, dtype=dtype, seed=seed)), order=order) for seed in range(2 + n_state)
    ]
    expected, _ = _stepped(lambda *args: getattr(nn, name)(numpy, *args), arrays, numbers)
    found, passed = _stepped(getattr(host, name), arrays, numbers)
    _check(found, expected, dtype)
    kept = [passed[0], *passed[2:]]
    assert all(one is other for one, other in zip(found, kept, strict=True))
    assert numpy.array_equal(passed[1], arrays[1])


def test_arrays_of_other_strides_and_dtypes_are_read_rightly(host):
    y = _draw(40, 6, dtype="float32").T
    dy = _draw(12, 40, dtype="float64")[::2]
    _check(host.tanh_backward(y, dy), nn.tanh_backward(numpy, y, dy.astype("float32")), "float32")
    _check(host.softmax(y), nn.softmax(numpy, y), "float32")


def test_an_empty_batch_launches_nothing(host):
    assert host.relu(numpy.zeros((0, 3), dtype="float32")).shape == (0, 3)
    assert host.softmax(numpy.zeros((0, 3), dtype="float32")).shape == (0, 3)
