"""Compiled steps on images, on the backends that replay steps."""

import numpy as np
import pytest
import steps

import xpnet

pytestmark = pytest.mark.parametrize("dtype", ["float32", "float64"])


def data():
    return xpnet.Dataset(steps.make_images("dense", (37, 156)), np.arange(37) % 3)


def test_replayed_training_of_convolutions_equals_plain_training(backend, dtype):
    steps.assert_trains_alike(backend, (steps.CONVOLUTIONS, data(), {"dtype": dtype}))


def test_convolution_in_blocks_of_images_equals_that_of_all_at_once(dtype, monkeypatch):
    from xpnet_numpy import convolution

    monkeypatch.setattr(convolution, "LARGEST", 12 * 13 * 9 * 3)  # columns of three images of the first layer
    steps.assert_trains_alike(xpnet.backend("numpy"), (steps.CONVOLUTIONS, data(), {"dtype": dtype}))


def test_reshaped_images_that_a_step_returns_stay_as_they_are(backend, dtype):
    def step(xp, x):
        y = xp.nn.add(x, x)
        return xp.nn.flatten(y), xp.nn.unflatten(xp.nn.flatten(y), shape=(3, 2, 2))

    compiled = backend.compile(step)
    images = [np.full((5, 2, 3, 2), i, dtype) for i in range(6)]
    found = [compiled(backend, backend.asarray(x)) for x in images]
    for x, (rows, others) in zip(images, found, strict=True):
        np.testing.assert_array_equal(backend.to_host(rows), 2 * x.reshape(5, 12))
        np.testing.assert_array_equal(backend.to_host(others), 2 * x.reshape(5, 3, 2, 2))
    assert getattr(compiled, "report", "") == ""


def test_images_that_a_step_changes_between_a_convolution_and_its_gradients_are_read_again(backend, dtype):
    def step(xp, x, weight, bias):
        y = xp.nn.conv2d(x, weight, bias)
        x = xp.nn.sgd_step(x, x, 0.5)
        return x, *xp.nn.conv2d_backward(x, weight, y)[1:]

    random = np.random.Generator(np.random.Philox(1))
    shapes = (4, 6, 5, 1), (3, 3, 1, 2), (2,)
    arrays = [random.standard_normal(shape).astype(dtype) for shape in shapes]
    expected = step(steps.PLAIN, *[x.copy() for x in arrays])
    compiled = backend.compile(step)
    for _ in range(3):
        found = compiled(backend, *[backend.asarray(x.copy()) for x in arrays])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(backend.to_host(one), other, rtol=1e-4, atol=1e-4)


def test_gradient_through_dropout_and_flatten_is_replayed(backend, dtype):
    def step(xp, x, number):
        y = xp.nn.dropout(xp.nn.relu(x), 7, number, 0.3)
        flat = xp.nn.flatten(y)
        d_flat = xp.nn.add(flat, flat)
        return xp.nn.dropout_backward(xp.nn.flatten_backward(y, d_flat), 7, number, 0.3)

    x = np.random.default_rng(0).normal(size=(31, 8, 8, 3)).astype(dtype)
    compiled = backend.compile(step)
    for number in (1, 2, 3):
        found = compiled(backend, backend.asarray(x), number)
    assert compiled.report == ""
    expected = step(xpnet.Namespace("plain", np), x, 3)
    np.testing.assert_allclose(backend.to_host(found), expected, rtol=1e-6)
