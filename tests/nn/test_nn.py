"""Every function of `nn`, on every namespace, against its formula in float64 NumPy and finite differences."""

import inspect

import numpy as np
import pytest
from checking import TOLERANCE, assert_close, assert_gradient, put

from xpnet import nn

EXTREME = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [88.0, -104.0, 1e-30]])
SHAPES = [(1, 3), (7, 10), (128, 64)]


def sample(shape, seed=0, scale=2.0):
    return scale * np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


ACTIVATIONS = {
    "sigmoid": sigmoid,
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "softmax": softmax,
    "log_softmax": lambda z: (
        z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula_in_float32(xp, name, shape):
    z = sample(shape).astype(np.float32)
    y = getattr(xp.nn, name)(put(xp, z))
    assert y.dtype == xp.float32
    assert_close(xp, y, ACTIVATIONS[name](z.astype(np.float64)), dtype="float32")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula_in_float64(xp64, name):
    z = sample((7, 10))
    y = getattr(xp64.nn, name)(put(xp64, z))
    assert y.dtype == xp64.float64
    assert_close(xp64, y, ACTIVATIONS[name](z))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_safe_at_extremes(xp, name):
    y = getattr(xp.nn, name)(put(xp, EXTREME.astype(np.float32)))
    assert_close(xp, y, ACTIVATIONS[name](EXTREME), dtype="float32")


@pytest.mark.parametrize("name", [f.name for f in nn.FUNCTIONS.values() if f.is_activation])
def test_activation_propagates_nan(xp, name):
    y = xp.to_host(getattr(xp.nn, name)(put(xp, np.array([[np.nan, 1.0]], dtype=np.float32))))
    np.testing.assert_array_equal(np.isnan(y), [[True, False]])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gradient_agrees_with_finite_differences(xp64, name):
    z, dy = sample((5, 4)), sample((5, 4), seed=1)
    forward, backward = getattr(xp64.nn, name), getattr(xp64.nn, f"{name}_backward")
    dz = xp64.to_host(backward(forward(put(xp64, z)), put(xp64, dy)))
    assert_gradient(xp64, lambda z: xp64.sum(forward(z) * xp64.asarray(dy)), z, dz)


def test_sigmoid_keeps_its_small_values(xp):
    y = xp.to_host(xp.nn.sigmoid(put(xp, np.array([-80.0], dtype=np.float32))))
    assert y[0] == pytest.approx(np.exp(-80.0), rel=1e-5)


def test_relu_gradient_at_zero_is_zero(xp):
    y = put(xp, np.array([[0.0, 1.0]], dtype=np.float32))
    assert_close(xp, xp.nn.relu_backward(y, xp.ones((1, 2), dtype=xp.float32)), [[0.0, 1.0]])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_gather_batch_takes_and_scales_rows(xp, dtype):
    images = np.arange(24).reshape(6, 4).astype(dtype)
    indices = np.array([5, 0, 5], dtype=np.int32)
    x = xp.nn.gather_batch(put(xp, images), put(xp, indices), scale=0.5, offset=-1.0, dtype=xp.float32)
    assert x.dtype == xp.float32
    assert_close(xp, x, images[indices] * 0.5 - 1.0, dtype="float32")


def test_gather_batch_gives_float64(xp64):
    images = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    x = xp64.nn.gather_batch(
        put(xp64, images),
        put(xp64, np.array([1], dtype=np.int32)),
        scale=1 / 255,
        offset=0.0,
        dtype=xp64.float64,
    )
    assert_close(xp64, x, [[0.2, 0.4]])


def test_gather_labels_takes_labels(xp):
    labels, indices = np.array([3, 1, 4, 1], dtype=np.int32), np.array([2, 0, 2], dtype=np.int32)
    found = xp.nn.gather_labels(put(xp, labels), put(xp, indices))
    assert found.dtype == xp.int32
    np.testing.assert_array_equal(xp.to_host(found), [4, 3, 4])


@pytest.mark.parametrize(("classes", "expected"), [(3, [[0, 1, 0], [1, 0, 0]]), (1, [[1], [0]])])
def test_one_hot_marks_the_label(xp, classes, expected):
    targets = xp.nn.one_hot(put(xp, np.array([1, 0], dtype=np.int32)), classes, dtype=xp.float32)
    assert targets.dtype == xp.float32
    assert_close(xp, targets, expected)


@pytest.mark.parametrize("weight", [np.float64(96), np.float32(96), np.uint8(96), np.longdouble(96)])
def test_accumulate_keeps_its_dtype_beside_numbers_of_numpy(xp, weight):
    total, value = (xp.asarray(x, dtype=xp.float32) for x in (1.0, 0.5))
    found = xp.nn.accumulate(total, value, weight)
    assert found.dtype == xp.float32
    assert float(found) == 49.0


def test_accumulate_adds_a_weighted_value(xp):
    total, value = (put(xp, np.array(x, dtype=np.float32)) for x in (1.0, 0.5))
    assert_close(xp, xp.nn.accumulate(total, value, 96), 49.0)
    assert_close(xp, total, 1.0)


@pytest.mark.parametrize("batch", [1, 96, 128])
def test_linear_equals_its_formula(xp, batch):
    x, w, b = (sample(s, seed=i).astype(np.float32) for i, s in enumerate([(batch, 12), (12, 5), (5,)]))
    y = xp.nn.linear(put(xp, x), put(xp, w), put(xp, b))
    assert_close(xp, y, x.astype(np.float64).dot(w) + b, dtype="float32")


def test_linear_gradients_agree_with_finite_differences(xp64):
    x, w, b, dy = (sample(s, seed=i) for i, s in enumerate([(6, 4), (4, 3), (3,), (6, 3)]))
    dx, d_weight, d_bias = map(
        xp64.to_host, xp64.nn.linear_backward(put(xp64, x), put(xp64, w), put(xp64, dy))
    )

    def loss(x, w, b):
        return xp64.sum(xp64.nn.linear(x, w, b) * xp64.asarray(dy))

    x0, w0, b0 = (put(xp64, a) for a in (x, w, b))
    assert_gradient(xp64, lambda x: loss(x, w0, b0), x, dx)
    assert_gradient(xp64, lambda w: loss(x0, w, b0), w, d_weight)
    assert_gradient(xp64, lambda b: loss(x0, w0, b), b, d_bias)


def test_linear_backward_leaves_out_an_unwanted_gradient(xp):
    x, w, dy = (put(xp, sample(s).astype(np.float32)) for s in [(6, 4), (4, 3), (6, 3)])
    dx, d_weight, d_bias = xp.nn.linear_backward(x, w, dy, input_gradient=False)
    assert dx is None
    _, expected_weight, expected_bias = xp.nn.linear_backward(x, w, dy)
    assert_close(xp, d_weight, xp.to_host(expected_weight))
    assert_close(xp, d_bias, xp.to_host(expected_bias))


LABELS = np.array([2, 0, 1, 2, 1], dtype=np.int32)


def test_softmax_cross_entropy_equals_its_formula(xp):
    z = sample((5, 3)).astype(np.float32)
    loss, d = xp.nn.softmax_cross_entropy(put(xp, z), put(xp, LABELS))
    assert tuple(loss.shape) == ()
    p = softmax(z.astype(np.float64))
    assert_close(xp, loss, -np.log(p[np.arange(5), LABELS]).mean(), dtype="float32")
    assert_close(xp, d, (p - np.eye(3)[LABELS]) / 5, dtype="float32")


def test_softmax_cross_entropy_is_safe_at_extremes(xp):
    z = np.array([[1e4, -1e4], [1e4, -1e4]], dtype=np.float32)
    loss, d = xp.nn.softmax_cross_entropy(put(xp, z), put(xp, np.array([0, 1], dtype=np.int32)))
    assert_close(xp, loss, 1e4, dtype="float32")
    assert_close(xp, d, [[0.0, 0.0], [0.5, -0.5]], dtype="float32")


def test_sigmoid_cross_entropy_equals_its_formula(xp):
    z, t = sample((5, 1)).astype(np.float32), np.array([[1], [0], [1], [0.25], [0]], dtype=np.float32)
    loss, d = xp.nn.sigmoid_cross_entropy(put(xp, z), put(xp, t))
    assert tuple(loss.shape) == ()
    p = sigmoid(z.astype(np.float64))
    assert_close(xp, loss, -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(), dtype="float32")
    assert_close(xp, d, (p - t) / 5, dtype="float32")


def test_sigmoid_cross_entropy_is_safe_at_extremes(xp):
    z, t = np.array([1e4, -1e4, 1e4, -1e4]), np.array([1.0, 0.0, 0.0, 1.0])
    loss, d = xp.nn.sigmoid_cross_entropy(put(xp, z.astype(np.float32)), put(xp, t.astype(np.float32)))
    assert_close(xp, loss, 5e3, dtype="float32")
    assert_close(xp, d, [0.0, 0.0, 0.25, -0.25], dtype="float32")


def test_squared_error_equals_its_formula(xp):
    y, t = np.array([[1.0], [0], [0], [1]], dtype=np.float32), np.zeros((4, 1), dtype=np.float32)
    loss, d = xp.nn.squared_error(put(xp, y), put(xp, t))
    assert float(xp.to_host(loss)) == 0.5
    assert_close(xp, d, y / 2, dtype="float32")


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
def test_loss_gradient_agrees_with_finite_differences(xp64, name):
    z = sample((5, 3))
    target = (
        put(xp64, LABELS) if name == "softmax_cross_entropy" else put(xp64, sigmoid(sample((5, 3), seed=1)))
    )
    function = getattr(xp64.nn, name)
    _, d = function(put(xp64, z), target)
    assert_gradient(xp64, lambda z: function(z, target)[0], z, xp64.to_host(d))


def steps(xp, dtype, name, *options, states):
    """Return the arrays after two steps of an optimizer, and their starting values in float64."""
    param, *grads = (sample((4, 3), seed=i).astype(dtype) for i in range(3))
    arrays = [xp.asarray(param.copy()), *(xp.zeros((4, 3), dtype=getattr(xp, dtype)) for _ in range(states))]
    for number, grad in enumerate(grads, start=1):
        extra = (number,) if name == "adam_step" else ()
        after = getattr(xp.nn, name)(arrays[0], put(xp, grad), *arrays[1:], *extra, *options)
        arrays = list(after) if states else [after]
    return arrays, param.astype(np.float64), [g.astype(np.float64) for g in grads]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd_step_follows_its_rule(xp64, dtype):
    (p,), p0, (g1, g2) = steps(xp64, dtype, "sgd_step", 0.5, states=0)
    assert_close(xp64, p, p0 - 0.5 * (g1 + g2), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_momentum_step_follows_its_rule(xp64, dtype):
    (p, v), p0, (g1, g2) = steps(xp64, dtype, "momentum_step", 0.5, 0.9, states=1)
    v1 = 0.1 * g1
    v2 = 0.9 * v1 + 0.1 * g2
    assert_close(xp64, v, v2, dtype=dtype)
    assert_close(xp64, p, p0 - 0.5 * v1 - 0.5 * v2, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nesterov_step_follows_its_rule(xp64, dtype):
    (p, v), p0, (g1, g2) = steps(xp64, dtype, "nesterov_step", 0.5, 0.9, states=1)
    v1 = 0.1 * g1
    v2 = 0.9 * v1 + 0.1 * g2
    assert_close(xp64, v, v2, dtype=dtype)
    ahead = 0.9 * v1 + 0.1 * g1 + 0.9 * v2 + 0.1 * g2
    assert_close(xp64, p, p0 - 0.5 * ahead, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_step_follows_its_rule(xp64, dtype):
    (p, m, s), p0, (g1, g2) = steps(xp64, dtype, "adam_step", 0.5, 0.9, 0.99, 1e-8, states=2)
    m1, s1 = 0.1 * g1, 0.01 * g1**2
    m2, s2 = 0.9 * m1 + 0.1 * g2, 0.99 * s1 + 0.01 * g2**2
    first = (m1 / 0.1) / (np.sqrt(s1 / 0.01) + 1e-8)
    second = (m2 / (1 - 0.81)) / (np.sqrt(s2 / (1 - 0.99**2)) + 1e-8)
    assert_close(xp64, m, m2, dtype=dtype)
    assert_close(xp64, s, s2, dtype=dtype)
    assert_close(xp64, p, p0 - 0.5 * (first + second), dtype=dtype, factor=4)


@pytest.mark.parametrize("name", nn.__all__)
def test_kernel_has_the_signature_of_its_twin(backend, name):
    twin = inspect.signature(getattr(nn, name))
    expected = list(twin.parameters.values())[1:]
    actual = list(inspect.signature(getattr(backend.nn, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in actual] == [(p.name, p.kind, p.default) for p in expected]


def test_tolerances_are_a_few_roundings():
    assert TOLERANCE["float32"] < 20 * np.finfo(np.float32).eps
    assert TOLERANCE["float64"] < 500 * np.finfo(np.float64).eps
