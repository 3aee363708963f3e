"""`kernels.cu` without a GPU: NVRTC compiles it for real devices, and g++ for this processor.

The package runs on it with NumPy in CuPy's place, so none of this needs CuPy.
"""

import functools
import inspect
import types
from concurrent import futures

import numpy
import pytest
from checking import results_of
from cuda_on_host import multiply, own, symbols

from xpnet import nn
from xpnet.drawing import drawn

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
DTYPES = ("float32", "float64")


def of_kind(kind):
    """Return a mark that runs a test with each function of a kind."""
    functions = [function for function in nn.FUNCTIONS.values() if getattr(function, kind)]
    return pytest.mark.parametrize("function", functions, ids=lambda function: function.name)


steps, activations = of_kind("is_step"), of_kind("is_activation")
by_both = pytest.mark.parametrize("largest", [2**24, 0], ids=["by a kernel", "by cuBLAS"])


def cuda_functions(package):
    return package.functions.functions(package.dense.Dense(tf32=False))


@pytest.fixture(scope="module")
def kernels(package):
    return package.kernels


@pytest.fixture(scope="module")
def launch(package):
    return package.launch


@pytest.fixture
def host(package, kernels_on_host):
    """The functions of `xpnet_cupy`, with `kernels.cu` compiled by g++ under them."""
    return types.SimpleNamespace(**cuda_functions(package))


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


ARCHITECTURES = "sm_80", "sm_90"


@pytest.fixture(scope="module")
def compilations(package):
    """The log, the binary code and the names in it of all kernels, by architecture."""
    pytest.importorskip("cuda.bindings.nvrtc", exc_type=ImportError)
    with futures.ThreadPoolExecutor() as pool:
        return dict(
            zip(ARCHITECTURES, pool.map(functools.partial(compilation, package), ARCHITECTURES), strict=True)
        )


def compilation(package, architecture):
    from cuda.bindings import nvrtc

    def ask(function, *args):
        status, *results = function(*args)
        return status, results[0] if results else None

    code, names = package.source.CODE.encode(), symbols(package.source)
    try:
        status, program = ask(nvrtc.nvrtcCreateProgram, code, b"kernels.cu", 0, [], [])
    except RuntimeError as e:
        pytest.skip(f"NVRTC cannot be loaded: {e}")
    assert status == 0
    for symbol in names:
        assert ask(nvrtc.nvrtcAddNameExpression, program, symbol.encode())[0] == 0
    # CuPy adds the flushing of denormals to its own compilations.
    options = [*package.launch.OPTIONS, "-ftz=true", f"-arch={architecture}", "--ptxas-options=-v"]
    status, _ = ask(nvrtc.nvrtcCompileProgram, program, len(options), [o.encode() for o in options])
    log = bytearray(ask(nvrtc.nvrtcGetProgramLogSize, program)[1])
    ask(nvrtc.nvrtcGetProgramLog, program, log)
    assert status == 0, log.decode()
    cubin = bytearray(ask(nvrtc.nvrtcGetCUBINSize, program)[1])
    ask(nvrtc.nvrtcGetCUBIN, program, cubin)
    lowered = {symbol: ask(nvrtc.nvrtcGetLoweredName, program, symbol.encode()) for symbol in names}
    ask(nvrtc.nvrtcDestroyProgram, program)
    return log.decode().strip("\0\n "), cubin, lowered


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_compiles_every_kernel_without_a_warning_or_a_spill(architecture, compilations):
    report, cubin, lowered = compilations[architecture]
    assert [line for line in report.splitlines() if not line.startswith("ptxas ")] == []
    assert "warning" not in report
    spills = [line.split(".")[-1].strip() for line in report.splitlines() if "bytes spill" in line]
    assert {*spills} == {"0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"}
    assert len(spills) >= len(lowered)
    for symbol, (status, name) in lowered.items():
        assert status == 0, symbol
        assert name in cubin, symbol


def test_every_kernel_of_the_source_is_named_for_python(package):
    text = package.source.CODE
    in_source = {after.split("(")[0].split()[-1] for after in text.split("__global__ void")[1:]}
    assert in_source == package.source.KERNELS.keys()


def test_every_function_of_nn_has_a_kernel(package):
    assert cuda_functions(package).keys() == nn.FUNCTIONS.keys()


def test_fused_functions_have_the_parameters_of_their_twins(package):
    for name, function in cuda_functions(package).items():
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


def test_symbol_refuses_a_dtype_that_has_no_kernel(package):
    with pytest.raises(TypeError, match=r"'softmax' has no CUDA kernel for float16: .*softmax<double>"):
        package.source.symbol("softmax", T=numpy.dtype("float16"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rules_have_the_size_that_they_have_in_cpp(dtype, package, library):
    kind = {"float32": "float", "float64": "double"}[dtype]
    for name, struct in package.source.RULES.items():
        layout = package.source.layout(name, numpy.dtype(dtype))
        assert layout.itemsize == library[f"size_of_{struct}_{kind}"]()


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


@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "squared_error"])
def test_losses_of_more_numbers_than_threads_match_their_twins(name, host, launch, monkeypatch):
    monkeypatch.setattr(launch, "MAX_BLOCKS", 3)
    outputs, targets = (_draw(7, 331, dtype="float64", seed=seed) for seed in (0, 1))
    expected = getattr(nn, name)(numpy, outputs, targets)
    _check(getattr(host, name)(outputs, targets), expected, "float64")


@pytest.mark.parametrize("index", [4, -5, 2**31 - 1, -(2**31)])
def test_index_out_of_range_does_not_read_past_an_array(index, host, kernels):
    images, labels = numpy.full((4, 3), 7, numpy.uint8), numpy.full(4, 7, numpy.int32)
    indices = numpy.asarray([0, index, -4, 3], numpy.int32)
    options = {"scale": 1.0, "offset": 0.0, "dtype": numpy.dtype("float32")}
    assert (host.gather_batch(images, indices, **options) == 7).all()
    assert (host.gather_labels(labels, indices) == 7).all()
    assert all((found == 7).all() for found in kernels.gather(images, indices, labels, **options))
    images = images.reshape(4, 1, 3)
    assert kernels.gather(images, indices, labels, **options)[0].shape == (4, 1, 3)
    with pytest.raises(IndexError, match="4 rows are to be gathered, but there are none"):
        host.gather_batch(images[:0], indices, **options)


def _stepped(function, dtype, grad):
    """Return drawn arguments of a step by a gradient, and what the twin returns for them."""
    numbers = {key: value for key, value in drawn(function, seed=0).items() if key not in function.arrays}
    given = drawn(function, seed=0, dtype=dtype, sizes={"*": grad.shape}) | {"grad": grad, **numbers}
    copies = {key: value.copy() if key in function.arrays else value for key, value in given.items()}
    return given, results_of(function.twin(numpy, **copies))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@steps
def test_steps_match_their_twins_and_work_in_place(function, order, dtype, host):
    given, expected = _stepped(function, dtype, _draw(33, 9, dtype=dtype))
    given |= {key: own(numpy.array(given[key], order=order)) for key in function.arrays}
    found = results_of(getattr(host, function.name)(**given))
    _check(found, expected, dtype)
    assert all(one is given[key] for one, key in zip(found, function.changed, strict=True))


def test_arrays_of_other_strides_and_dtypes_are_copied(host):
    y = _draw(40, 6, dtype="float32").T
    dy = _draw(12, 40, dtype="float64")[::2]
    _check(host.tanh_backward(y, dy), nn.tanh_backward(numpy, y, dy.astype("float32")), "float32")
    _check(host.softmax(y), nn.softmax(numpy, y), "float32")


SHAPES = [(1, 1, 1), (5, 3, 2), (9, 70, 8), (20, 130, 17)]


@pytest.fixture
def dense(package, kernels_on_host, monkeypatch):
    """Return a function that returns the functions of layers, given the largest product of our kernels."""

    def make(largest):
        monkeypatch.setattr(package.dense, "LARGEST_PRODUCT", largest)
        monkeypatch.setattr(package.blas, "multiply", multiply)
        return package.dense.Dense(tf32=False)

    return make


def _layer(batch, n_in, n_out, dtype):
    shapes = (batch, n_in), (n_in, n_out), (n_out,), (batch, n_out)
    return [_draw(*shape, dtype=dtype, seed=i, scale=0.5) for i, shape in enumerate(shapes)]


@by_both
@pytest.mark.parametrize("shape", SHAPES)
@activations
def test_layers_with_an_activation_match_two_twins(function, shape, largest, dense):
    dense = dense(largest)
    x, weight, bias, dy = _layer(*shape, "float64")
    z = nn.linear(numpy, x, weight, bias)
    y = function.twin(numpy, z)
    _check(dense.activated(function.name, x, weight, bias)[0], y, "float64")
    _check(dense.activated(function.name, x, weight, bias, keep_z=True), (y, z), "float64")
    kept = {"z": x, "y": function.twin(numpy, x)}[function.keeps]
    dx, *_ = nn.linear_backward(numpy, x, weight, dy)
    expected = nn.FUNCTIONS[function.gradient].twin(numpy, kept, dy=dx)
    _check(dense.backward(function.name, weight, dy, kept), expected, "float64")


@by_both
@pytest.mark.parametrize("dtype", DTYPES)
@steps
def test_steps_of_layers_match_their_twins(function, dtype, largest, dense):
    x, weight, _, dy = _layer(9, 70, 11, dtype)
    changed, expected = [], []
    for grad in nn.linear_backward(numpy, x, weight, dy)[1:]:
        given, stepped = _stepped(function, dtype, grad)
        expected += stepped
        changed.append([own(given[key].copy()) for key in function.changed])
    numbers = {key: value for key, value in given.items() if key not in function.arrays}
    dense(largest).step(function.name, x, dy, *changed, numbers)
    _check((*changed[0], *changed[1]), tuple(expected), dtype)


@by_both
def test_gradients_of_many_rows_match_their_twin(largest, dense, launch, monkeypatch):
    monkeypatch.setattr(launch, "MAX_BLOCKS", 1)
    x, weight, _, dy = _layer(700, 3, 19, "float64")
    _check(dense(largest).gradient(x, dy), nn.linear_backward(numpy, x, weight, dy)[1:], "float64")
    bias, d_bias = own(numpy.zeros(19)), dy.sum(axis=0)
    mine = own(weight.copy())
    dense(largest).step("sgd_step", x, dy, [mine], [bias], {"lr": 0.5})
    _check((mine, bias), (weight - 0.5 * x.T @ dy, -0.5 * d_bias), "float64")


@pytest.mark.parametrize("layout", ["C", "F"])
def test_linear_layers_read_arrays_of_any_layout(layout, host):
    x, weight, bias, dy = (numpy.asarray(a, order=layout) for a in _layer(9, 70, 8, "float64"))
    _check(host.linear(x, weight, bias), nn.linear(numpy, x, weight, bias), "float64")
    _check(host.linear_backward(x, weight, dy), nn.linear_backward(numpy, x, weight, dy), "float64")


def test_a_loss_is_added_to_a_total_by_its_address(host, kernels):
    outputs, targets = (_draw(4, 3, dtype="float64", seed=seed) for seed in (0, 1))
    total = numpy.asarray(2.0)
    expected, gradient = nn.squared_error(numpy, outputs, targets)
    for times in (1, 2):
        found = kernels.loss("squared_error", outputs, targets, numpy.asarray([total.ctypes.data]), 4.0)
        _check(found, (expected, gradient), "float64")
        numpy.testing.assert_allclose(total, 2 + 4 * times * expected)


def test_fetched_addresses_and_counts_advance(host, kernels):
    order = numpy.arange(6, dtype="int32")[::-1].copy()
    place, steps = numpy.asarray([order.ctypes.data]), numpy.asarray([1])
    for n, expected in ((1, [5, 4, 3]), (2, [2, 1, 0])):
        assert kernels.fetch(place, (3,), order.dtype).tolist() == expected
        found = kernels.count(steps, 0.9, 0.999, numpy.dtype("float64"))
        numpy.testing.assert_allclose(found, [1 - 0.9**n, 1 - 0.999**n])


def test_tiles_cover_the_product(launch):
    shapes = (0, 5), (1, 1), (8, 8), (9, 8), (785, 64)
    assert [launch.tiles(*shape) for shape in shapes] == [0, 1, 1, 2, 99 * 8]


def test_an_empty_batch_launches_nothing(host):
    assert host.relu(numpy.zeros((0, 3), dtype="float32")).shape == (0, 3)
    assert host.softmax(numpy.zeros((0, 3), dtype="float32")).shape == (0, 3)
