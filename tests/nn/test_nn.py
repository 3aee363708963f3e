"""The twins of `nn` against formulas in NumPy, and what is special about single functions."""

import inspect

import numpy as np
import pytest
from checking import TOLERANCE, assert_close, put, results_of

from xpnet import nn
from xpnet.drawing import drawn


def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def log_softmax(z):
    return z - np.logaddexp.reduce(z, axis=-1, keepdims=True)


def mean_cross_entropy(logits, labels):
    rows, classes = np.arange(len(labels)), logits.shape[1]
    loss = -log_softmax(logits)[rows, labels].mean()
    return loss, (np.exp(log_softmax(logits)) - np.eye(classes)[labels]) / len(labels)


def momentum(param, grad, velocity, lr, beta, weight_decay):
    after = beta * velocity + (1 - beta) * grad
    return (1 - lr * weight_decay) * param - lr * after, after


def nesterov(param, grad, velocity, lr, beta, weight_decay):
    after = beta * velocity + (1 - beta) * grad
    return (1 - lr * weight_decay) * param - lr * (beta * after + (1 - beta) * grad), after


def sgd_momentum(param, grad, velocity, lr, momentum, share, weight_decay):
    after = momentum * velocity + share * grad
    return (1 - lr * weight_decay) * param - lr * after, after


def sgd_nesterov(param, grad, velocity, lr, momentum, weight_decay):
    after = momentum * velocity + grad
    return (1 - lr * weight_decay) * param - lr * (momentum * after + grad), after


def rmsprop(param, grad, variance, lr, alpha, eps, weight_decay):
    after = alpha * variance + (1 - alpha) * grad**2
    return (1 - lr * weight_decay) * param - lr * grad / (np.sqrt(after) + eps), after


def adam(param, grad, mean, variance, step, lr, beta1, beta2, eps):
    m, v = beta1 * mean + (1 - beta1) * grad, beta2 * variance + (1 - beta2) * grad**2
    scale = np.sqrt(v / (1 - beta2**step)) + eps
    return param - lr * m / (1 - beta1**step) / scale, m, v


def adamw(param, *others):
    lr, weight_decay = others[4], others[-1]
    return adam((1 - lr * weight_decay) * param, *others[:-1])


def batch_norm_training(x, scale, shift, eps):
    rows = x.reshape(-1, x.shape[-1])
    return scale * (x - rows.mean(0)) / np.sqrt(rows.var(0) + eps) + shift, rows.mean(0), rows.var(0, ddof=1)


# Gradients are compared with finite differences.
FORMULAS = {
    "accumulate": lambda total, value, weight: total + weight * value,
    "adam_step": adam,
    "adamw_step": adamw,
    "batch_norm": lambda x, scale, shift, mean, variance, eps: (
        scale * (x - mean) / np.sqrt(variance + eps) + shift
    ),
    "batch_norm_training": batch_norm_training,
    "clip_by_norm": lambda grad, squares, limit: grad * np.minimum(1, limit / (np.sqrt(squares) + 1e-6)),
    "gather_batch": lambda images, indices, scale, offset, dtype: images[indices] * scale + offset,
    "gather_labels": lambda labels, indices: labels[indices],
    "gelu": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "linear": lambda x, weight, bias: x.dot(weight) + bias,
    "log_softmax": log_softmax,
    "momentum_step": momentum,
    "moving_average": lambda running, value, momentum: (1 - momentum) * running + momentum * value,
    "nesterov_step": nesterov,
    "one_hot": lambda labels, classes, dtype: np.eye(classes)[labels],
    "relu": lambda z: np.where(z > 0, z, 0.0),
    "rmsprop_step": rmsprop,
    "sgd_momentum_step": sgd_momentum,
    "sgd_nesterov_step": sgd_nesterov,
    "sgd_step": lambda param, grad, lr, decay: (1 - lr * decay) * param - lr * grad,
    "sigmoid": sigmoid,
    "sigmoid_cross_entropy": lambda z, t: (np.mean(np.logaddexp(0, z) - t * z), (sigmoid(z) - t) / z.size),
    "silu": lambda z: z * sigmoid(z),
    "softmax": lambda z: np.exp(log_softmax(z)),
    "softmax_cross_entropy": mean_cross_entropy,
    "sum_of_squares": lambda grad: (grad**2).sum(),
    "squared_error": lambda y, t: (np.mean((y - t) ** 2), 2 * (y - t) / y.size),
    "standardize": lambda x, mean, deviation: (x - mean) / deviation,
    "tanh": lambda z: 1 - 2 * sigmoid(-2 * z),
}


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_twin_equals_its_formula(numpy_xp, name, extreme):
    arguments = drawn(nn.FUNCTIONS[name], seed=0, dtype="float64", sizes={"*": (5, 4)}, extreme=extreme)
    expected = results_of(FORMULAS[name](*arguments.values()))
    copies = {key: x.copy() if isinstance(x, np.ndarray) else x for key, x in arguments.items()}
    found = results_of(nn.FUNCTIONS[name].twin(np, **copies))
    for one, other in zip(found, expected, strict=True):
        assert_close(numpy_xp, one, other, factor=4)


def test_relu_gradient_at_zero_is_zero(xp):
    y = put(xp, np.array([[0.0, 1.0]], dtype=np.float32))
    assert_close(xp, xp.nn.relu_backward(y, xp.ones((1, 2), dtype=xp.float32)), [[0.0, 1.0]])


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


@pytest.mark.parametrize("name", nn.__all__)
def test_kernel_has_the_signature_of_its_twin(backend, name):
    twin = inspect.signature(getattr(nn, name))
    expected = list(twin.parameters.values())[1:]
    actual = list(inspect.signature(getattr(backend.nn, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in actual] == [(p.name, p.kind, p.default) for p in expected]


def test_tolerances_are_a_few_roundings():
    assert TOLERANCE["float32"] < 20 * np.finfo(np.float32).eps
    assert TOLERANCE["float64"] < 500 * np.finfo(np.float64).eps
