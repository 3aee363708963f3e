"""The outputs of all layers are those that the layers give one after another."""

import numpy as np
import pytest

import xpnet
from xpnet import BatchNorm, Dropout, Linear, ReLU, Residual, Sequential


@pytest.fixture
def images():
    return np.random.Generator(np.random.Philox(3)).integers(0, 256, (5, 28, 28)).astype(np.uint8)


def test_activations_of_an_mlp_are_those_of_its_formula(xp64, images):
    model = xpnet.mlp(784, 6, 3, activation="sigmoid")
    params = model.init(xp64, 1, dtype="float64")
    found = xpnet.activations(xp64, model, params, images, scale=0.01, offset=-0.5)
    p = {name: xp64.to_host(value) for name, value in params.items()}
    z = (images.reshape(5, 784) * 0.01 - 0.5) @ p["0.weight"] + p["0.bias"]
    y = 1 / (1 + np.exp(-z))
    expected = {"0": z, "1": y, "2": y @ p["2.weight"] + p["2.bias"]}
    assert [*found] == [*expected]
    for number, wanted in expected.items():
        np.testing.assert_allclose(found[number], wanted, rtol=1e-9, atol=1e-12)


def test_activations_of_images_have_a_map_for_each_filter(xp, images):
    model = xpnet.lenet5()
    found = xpnet.activations(xp, model, model.init(xp, 1), images)
    shapes = [found[str(i)].shape for i in range(len(model.layers))]
    assert shapes[:5] == [(5, 28, 28, 1), (5, 28, 28, 6), (5, 28, 28, 6), (5, 14, 14, 6), (5, 10, 10, 16)]
    assert shapes[7:] == [(5, 400), (5, 120), (5, 120), (5, 84), (5, 84), (5, 10)]
    assert (found["2"] == np.maximum(found["1"], 0)).all()


def test_activations_number_the_layers_of_models_within_the_model(xp):
    inner = Residual(Linear(4, 4), ReLU())
    model = Sequential(Linear(3, 4), inner, Sequential(Linear(4, 2)))
    found = xpnet.activations(xp, model, model.init(xp, 1), np.ones((2, 3), np.float32))
    assert [*found] == ["0", "1.0", "1.1", "1", "2.0", "2"]
    np.testing.assert_allclose(found["1"], found["0"] + found["1.1"], rtol=1e-6)
    np.testing.assert_array_equal(found["2"], found["2.0"])


def test_activations_run_a_layer_once_however_deep_it_is(numpy_xp):
    calls = []

    class Counting(ReLU):
        def __call__(self, xp, params, x, **options):
            calls.append(len(x))
            return super().__call__(xp, params, x, **options)

    model = Sequential(Linear(3, 4), Sequential(Sequential(Sequential(Counting())), Linear(4, 2)))
    params = model.init(numpy_xp, 1)
    found = xpnet.activations(numpy_xp, model, params, np.ones((2, 3), np.float32))
    assert [*found] == ["0", "1.0.0.0", "1.0.0", "1.0", "1.1", "1"]
    assert calls == [2]


def test_activations_are_those_of_use_not_of_training(backend, dataset):
    model = Sequential(Linear(12, 8), BatchNorm(8), ReLU(), Dropout(0.5), Linear(8, 3))
    run = xpnet.fit(backend, model, dataset, epochs=2, batch_size=30, optimizer=xpnet.SGD(0.1))
    found = run.activations(dataset)
    np.testing.assert_array_equal(found["3"], found["2"])
    np.testing.assert_allclose(found["4"], run.predict_outputs(dataset), rtol=1e-5, atol=1e-6)
    one = run.activations(dataset.images[7:8])
    np.testing.assert_allclose(one["2"][0], found["2"][7], rtol=1e-5, atol=1e-6)


def test_activations_of_more_than_a_batch_are_in_order(numpy_xp):
    model = Sequential(Linear(1, 1))
    params = {name: numpy_xp.ones(shape) for name, shape in model.shapes.items()}
    rows = np.arange(2500, dtype=np.float32)[:, None]
    found = xpnet.activations(numpy_xp, model, params, rows)
    np.testing.assert_array_equal(found["0"], rows + 1)


def test_activations_refuse_images_that_do_not_fit(numpy_xp):
    data = xpnet.Dataset(np.zeros((4, 4), np.uint8), np.array([0, 1, 0, 1]))
    run = xpnet.fit(numpy_xp, xpnet.mlp(4, 2), data, epochs=1, optimizer=xpnet.SGD(0.1))
    with pytest.raises(ValueError, match="has 5 features an image, but the model takes 4"):
        run.activations(np.zeros((2, 5), np.uint8))
