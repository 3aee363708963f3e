"""The kernels of the backend `numba` against their portable twins on NumPy."""

import inspect

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xpnet import nn

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import xp  # noqa: E402

TOLERANCE = {"float32": 2e-6, "float64": 4e-15}  # relative to the largest element
DTYPES = [numpy.float32, numpy.float64]
SHAPES = [(1, 1), (1, 10), (96, 10), (127, 3), (5, 1000)]

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
    images = frozen(images[:, :30].reshape(50, 5, 3, 2)[:, ::2])
    for stored in (images, frozen(images.copy())):
        check("gather_batch", stored, indices, scale=scale, offset=offset, dtype=numpy.dtype(dtype))


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


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
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


def test_label_that_is_no_class_counts_as_in_the_twin():
    logits = frozen(numpy.asarray([[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]]))
    check("softmax_cross_entropy", logits, frozen(numpy.asarray([2, -1, 1])))
