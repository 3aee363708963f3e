"""The kernels of the backend `numba` against their portable twins on NumPy."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import xpnet
from xpnet import nn

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import compiled, xp  # noqa: E402
from xpnet_numba.compiled import part  # noqa: E402
from xpnet_numba.exp import exp, log1p  # noqa: E402

TOLERANCE = {"float32": 2e-6, "float64": 4e-15}  # relative to the largest element
EXP_ULP, LOG1P_ULP = 1.0, 2.0
DTYPES = [numpy.float32, numpy.float64]
SHAPES = [(1, 1), (1, 10), (96, 10), (127, 3), (5, 1000)]
SOURCES = [Path(__file__).parents[2] / folder for folder in ("", "backends")]

dtypes = st.sampled_from(DTYPES)
few = settings(deadline=None, derandomize=True, max_examples=40)


@st.composite
def matrices(draw, count, *, low=-1e4, high=1e4):
    """Return read-only matrices of one shape and dtype, with extreme values strewn in."""
    dtype, shape = draw(dtypes), draw(st.sampled_from(SHAPES))
    tiny = float(numpy.finfo(dtype).smallest_subnormal)
    extremes = st.sampled_from([low, high, 0.0, tiny, 1.0])
    random = numpy.random.default_rng(draw(st.integers(0, 2**16)))
    result = []
    for _ in range(count):
        x = random.normal(size=shape).clip(low, high).astype(dtype)
        places = draw(arrays.arrays(numpy.int64, 3, elements=st.integers(0, x.size - 1)))
        x.flat[places] = [draw(extremes) for _ in places]
        result.append(frozen(x))
    return result


def gradient_like(y):
    return frozen(numpy.random.default_rng(0).normal(size=y.shape).astype(y.dtype))


def frozen(x):
    x.setflags(write=False)
    return x


def check(name, *args, **options):
    """Compare a kernel with its twin; each gets arrays of its own, if it may overwrite them."""
    is_step = name.endswith("_step")
    mine, twins = ([numpy.array(x) if is_step and numpy.ndim(x) else x for x in args] for _ in range(2))
    got = getattr(xp.nn, name)(*mine, **options)
    with numpy.errstate(all="ignore"):
        want = getattr(nn, name)(numpy, *twins, **options)
    got, want = (x if isinstance(x, tuple) else (x,) for x in (got, want))
    for g, w in zip(got, want, strict=True):
        if w is None:
            assert g is None
            continue
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        # What cancels in a loss or a step leaves the rounding errors of its arguments.
        inputs = [x for x in args if is_step or not w.shape if getattr(x, "dtype", None) == w.dtype]
        scale = max(largest(x) for x in (w, *inputs))
        numpy.testing.assert_allclose(g, w, rtol=0, atol=TOLERANCE[w.dtype.name] * scale)


def largest(x):
    finite = numpy.abs(x)[numpy.isfinite(x)]
    return float(numpy.max(finite, initial=0.0))


@pytest.mark.parametrize("name", xp.fused)
def test_kernel_has_the_signature_of_its_twin(name):
    _, *expected = inspect.signature(getattr(nn, name)).parameters.values()
    assert list(inspect.signature(getattr(xp.nn, name)).parameters.values()) == expected


@few
@given(st.sampled_from(["sigmoid", "relu", "softmax", "log_softmax"]), matrices(1))
def test_activation_matches_its_twin(name, z):
    check(name, *z)


@few
@given(matrices(2))
def test_relu_backward_matches_its_twin(y_dy):
    check("relu_backward", *y_dy)


@few
@given(
    st.sampled_from(["sigmoid_backward", "tanh_backward", "softmax_backward"]),
    matrices(1, low=0.0, high=1.0),
)
def test_gradient_matches_its_twin(name, y):
    check(name, *y, gradient_like(*y))


@few
@given(matrices(1, low=-1e4, high=0.0))
def test_log_softmax_backward_matches_its_twin(y):
    check("log_softmax_backward", *y, gradient_like(*y))


@few
@given(matrices(1), st.sampled_from(["int32", "int64", "uint8"]))
def test_softmax_cross_entropy_matches_its_twin(logits, dtype):
    batch, classes = logits[0].shape
    labels = frozen((7 * numpy.arange(batch) % min(classes, 250)).astype(dtype))
    check("softmax_cross_entropy", *logits, labels)


@few
@given(matrices(1), matrices(1, low=0.0, high=1.0))
def test_sigmoid_cross_entropy_matches_its_twin(logits, targets):
    targets = numpy.resize(targets[0], logits[0].shape).astype(logits[0].dtype)
    check("sigmoid_cross_entropy", *logits, frozen(targets))


@few
@given(matrices(2))
def test_squared_error_matches_its_twin(outputs_targets):
    check("squared_error", *outputs_targets)


@few
@given(matrices(4, low=-10.0, high=10.0), st.integers(1, 1000), st.sampled_from([0.0, 0.5, 0.9]))
def test_steps_match_their_twins(state, step, beta):
    param, grad, mean, variance = state
    check("sgd_step", param, grad, 0.1)
    check("momentum_step", param, grad, mean, 0.1, beta)
    check("nesterov_step", param, grad, mean, 0.1, beta)
    check("adam_step", param, grad, mean, abs(variance), step, 1e-3, beta, 0.999, 1e-8)


@few
@given(matrices(1, low=-10.0, high=10.0), st.booleans())
def test_linear_backward_matches_its_twin(x, input_gradient):
    (x,) = x
    weight, dy = (gradient_like(numpy.empty((n, 7), x.dtype)) for n in x.shape[::-1])
    check("linear_backward", x, weight, dy, input_gradient=input_gradient)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", ["uint8", "float64"])
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1 / 255, 0.0), (2 / 255, -1.0)])
def test_gather_batch_matches_its_twin(dtype, stored, index, scale, offset):
    images = frozen(numpy.random.default_rng(0).integers(0, 256, (50, 33)).astype(stored))
    indices = frozen(numpy.asarray([49, 0, 7, 7], dtype=index))
    check("gather_batch", images, indices, scale=scale, offset=offset, dtype=numpy.dtype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_propagates_as_in_the_twins(dtype):
    z = numpy.linspace(-2, 2, 40, dtype=dtype).reshape(4, 10)
    z[1, 3] = z[2, 0] = numpy.nan
    z[3, 5], z[0, 1] = numpy.inf, -numpy.inf
    dy = numpy.linspace(-1, 1, 40, dtype=dtype).reshape(4, 10)
    for name in ("sigmoid", "relu", "softmax", "log_softmax"):
        check(name, frozen(z))
    for name in ("sigmoid_backward", "relu_backward", "tanh_backward", "softmax_backward"):
        check(name, frozen(z), frozen(dy))
    check("softmax_cross_entropy", z, frozen(numpy.arange(4)))
    check("sigmoid_cross_entropy", z, frozen(abs(dy)))
    check("squared_error", z, dy)
    check("momentum_step", dy, z, dy, 0.1, 0.9)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_need_not_be_contiguous_nor_matrices(dtype):
    cube = frozen(numpy.linspace(-3, 3, 120, dtype=dtype).reshape(4, 5, 6))
    for z in (cube, cube[::2, :, ::3], cube.transpose(2, 0, 1), cube[0, 0, 0], cube[:0]):
        check("sigmoid", z)
        check("relu_backward", z, z)
    for z in (cube[:, 1, :], cube[1].T, cube[1, :0]):
        check("softmax", z)
        check("softmax_cross_entropy", z, numpy.zeros(z.shape[0], dtype=numpy.int64)[::-1])
    check("squared_error", cube[0, 0, ::2], cube[0, 1, ::2])


@pytest.mark.parametrize("make", [lambda x: x[:, ::2], lambda x: x.T, lambda x: x[1, ::3], lambda x: x[0, 0]])
def test_steps_are_right_for_parameters_of_any_layout(make):
    param, grad, velocity = (
        make(numpy.linspace(-1, k, 60, dtype=numpy.float32).reshape(6, 10)) for k in (1, 2, 3)
    )
    want = nn.momentum_step(
        numpy, *(numpy.array(x) for x in (param, grad, velocity)), numpy.asarray(0.1), numpy.float32(0.9)
    )
    got = xp.nn.momentum_step(param, grad, velocity, numpy.asarray(0.1), numpy.float32(0.9))
    for g, w in zip(got, want, strict=True):
        numpy.testing.assert_allclose(g, w, rtol=0, atol=TOLERANCE["float32"])


def test_steps_overwrite_contiguous_parameters():
    param, velocity = numpy.ones((3, 4)), numpy.zeros((3, 4))
    new_param, new_velocity = xp.nn.momentum_step(param, numpy.ones((3, 4)), velocity, 0.5, 0.0)
    assert numpy.shares_memory(new_param, param)
    assert numpy.shares_memory(new_velocity, velocity)
    assert (param == 0.5).all()


@part
def _exp_of_each(x, out):
    for i in range(x.size):
        out[i] = exp(x[i])


@part
def _log1p_of_each(x, out):
    for i in range(x.size):
        out[i] = log1p(x[i])


def worst_ulp(function, exact, x):
    got = numpy.empty_like(x)
    function(x, got)
    want = exact(x.astype(numpy.longdouble))
    return float(numpy.max(abs(got - want) / numpy.spacing(want.astype(x.dtype))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_an_ulp(dtype):
    info = numpy.finfo(dtype)
    low, high = numpy.log(info.smallest_normal) * 0.99999, numpy.log(info.max) * 0.99999
    x = numpy.concatenate([numpy.linspace(a, b, 400_001, dtype=dtype) for a, b in ((low, high), (-2, 2))])
    assert worst_ulp(_exp_of_each, numpy.exp, x) <= EXP_ULP


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_saturates_and_keeps_nan(dtype):
    x = numpy.asarray([-numpy.inf, -1e30, -1e4, -0.0, 0.0, 1e4, 1e30, numpy.inf, numpy.nan], dtype=dtype)
    got = numpy.empty_like(x)
    _exp_of_each(x, got)
    numpy.testing.assert_array_equal(got, [0, 0, 0, 1, 1] + 3 * [numpy.inf] + [numpy.nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_is_within_two_ulp_on_the_unit_interval(dtype):
    x = numpy.concatenate([numpy.linspace(0, 1, 400_001), numpy.logspace(-30, 0, 10_001)]).astype(dtype)
    assert worst_ulp(_log1p_of_each, numpy.log1p, x) <= LOG1P_ULP


def run(code, **environment):
    """Return what Python code prints in a process of its own."""
    path = os.pathsep.join(map(str, SOURCES))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


TRAINING = """
import hashlib, numpy
from xpnet_numba import xp
random = numpy.random.default_rng(0)
images = random.integers(0, 256, (512, 100)).astype(numpy.uint8)
labels = random.integers(0, 10, 512)
weight = random.normal(size=(100, 10)).astype(numpy.float32)
velocity = numpy.zeros_like(weight)
for step in range(4):
    indices = random.permutation(512)[:96]
    x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
    z = numpy.einsum("bi,io->bo", x, weight)
    y = xp.nn.sigmoid(z)
    loss, dy = xp.nn.softmax_cross_entropy(y, labels[indices])
    dz = xp.nn.sigmoid_backward(y, dy)
    grad = numpy.einsum("bi,bo->io", x, dz)
    weight, velocity = xp.nn.momentum_step(weight, grad, velocity, 0.5, 0.9)
print(hashlib.sha256(weight.tobytes() + loss.tobytes()).hexdigest())
"""


def test_results_do_not_depend_on_the_number_of_threads():
    one, two = (run(TRAINING, NUMBA_NUM_THREADS=threads) for threads in "12")
    assert one == two


CACHE = """
from xpnet_numba import activations, xp
xp.probe()
stats = activations._relu.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_compiled_code_is_kept_for_the_next_process(tmp_path):
    first, second = (run(CACHE, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert first == ["0", "1"]
    assert second == ["1", "0"]


ADVICE = """
from xpnet_numba import xp
xp.probe()
print(*xp.advice(), sep="\\n")
"""


def test_advice_tells_of_threads_cache_and_svml(tmp_path):
    cold = run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert cold[0].startswith("BLAS: ")
    threads, cache, svml = cold[-3:]
    assert threads == "threads: the kernels are serial, only BLAS uses several"
    assert cache.startswith(f"cache: cold, 1 of {len(xp.fused)} kernels in {tmp_path}")
    assert svml.startswith(f"SVML: {'in use' if numba.config.USING_SVML else 'not found'}, ")


def test_advice_counts_the_kernels_that_are_kept(tmp_path):
    assert "cache: cold, 1 of " in run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path))
    run(TRAINING, NUMBA_CACHE_DIR=str(tmp_path))
    assert f"cache: partly warm, 6 of {len(xp.fused)} kernels" in run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path))


def test_cache_of_every_kernel_is_warm(monkeypatch):
    monkeypatch.setattr(compiled, "_is_kept", lambda kernel: True)
    n = len(xp.fused)
    assert xp.advice()[-2].startswith(f"cache: warm, {n} of {n} kernels in ")


def test_import_compiles_nothing():
    code = "from xpnet_numba import activations, xp; print(activations._relu.signatures)"
    assert run(code).strip() == "[]"


def test_missing_numba_is_named_with_its_remedy():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import xpnet\n"
        "try: import xpnet_numba\n"
        "except xpnet.BackendUnavailableError as e: print(e)"
    )
    message = run(code)
    assert "backend 'numba' cannot be loaded: " in message
    assert "numba" in message.partition("loaded: ")[2]
    assert "install it with `pip install 'xpnet[numba]'`" in message


def test_probe_accepts_this_machine():
    assert xpnet.backend("numba") is xp
    assert xp.versions == {"numba": numba.__version__, "numpy": numpy.__version__}


def test_missing_cache_folder_is_named_with_its_remedy():
    code = (
        "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []\n"
        "import xpnet\n"
        "try: import xpnet_numba\n"
        "except xpnet.BackendUnavailableError as e: print(e)"
    )
    message = run(code)
    assert "no locator available" in message
    assert "name a folder that can be written in NUMBA_CACHE_DIR" in message


def test_label_that_is_no_class_counts_as_in_the_twin():
    logits = frozen(numpy.asarray([[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]]))
    check("softmax_cross_entropy", logits, frozen(numpy.asarray([2, -1, 1])))
