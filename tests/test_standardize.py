"""The layer that standardises by what the training inputs show, and how it is adapted to them."""

import numpy as np
import pytest
from checking import assert_close, assert_gradient

import xpnet
from xpnet import Conv2d, Dataset, Flatten, Linear, ReLU, Residual, Sequential, Standardize
from xpnet.adapting import adapted_params
from xpnet.batches import Scaling
from xpnet.moments import mean_and_deviation

SCALING = Scaling()


def rows(*shape, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(3, 2, shape) * np.logspace(-3, 3, shape[-1])


def adapted(xp, model, inputs, dtype="float32", scaling=SCALING):
    return adapted_params(xp, model, model.init(xp, 0, dtype=dtype), inputs, scaling)


def host(xp, params):
    return {name: np.array(xp.to_host(x)) for name, x in params.items()}


def test_adapted_layer_gives_the_training_inputs_mean_0_and_deviation_1(xp64):
    x = rows(50, 4)
    model = Sequential(Standardize(4))
    params = adapted(xp64, model, x, "float64")
    y = xp64.to_host(model(xp64, params, xp64.asarray(x))[0])
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-14)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-13)


@pytest.mark.parametrize("shape", [(7, 3), (2, 4, 5, 3)])
def test_training_and_use_apply_the_same_state_and_keep_it(xp64, shape):
    layer, x = Standardize(3), rows(*shape)
    state = {"mean": np.array([1.0, -2, 0.5]), "deviation": np.array([0.5, 4, 1])}
    params = {name: xp64.asarray(value) for name, value in state.items()}
    used, _ = layer(xp64, params, xp64.asarray(x))
    trained, _, new = layer.train(xp64, params, xp64.asarray(x))
    for y in (used, trained):
        assert_close(xp64, y, (x - state["mean"]) / state["deviation"])
    for name, value in state.items():
        np.testing.assert_array_equal(xp64.to_host(new[name]), value)


def test_gradient_in_training_agrees_with_finite_differences(xp64):
    layer, random = Standardize(3), np.random.default_rng(0)
    x, dy = random.normal(size=(2, 5, 3))
    params, dy = layer.adapt(xp64, [2 * x + 1], "float64"), xp64.asarray(dy)
    _, pullback, _ = layer.train(xp64, params, xp64.asarray(x))
    dx, grads = pullback(dy)
    assert grads == {}
    assert_gradient(xp64, lambda x: xp64.sum(layer(xp64, params, x)[0] * dy), x, xp64.to_host(dx))


def test_constant_feature_has_deviation_1_and_becomes_0(numpy_xp):
    x = np.stack([np.full(1000, 0.1), np.arange(1000.0)], axis=1).astype("float32")
    model = Sequential(Standardize(2))
    params = adapted(numpy_xp, model, x)
    assert params["0.deviation"][0] == 1
    assert (model(numpy_xp, params, x)[0][:, 0] == 0).all()


def test_blocks_of_rows_give_what_all_rows_together_give():
    x = rows(1001, 3)
    found = mean_and_deviation(np.array_split(x, 7), 3, "float64")
    np.testing.assert_allclose(found, [x.mean(0), x.std(0)], rtol=1e-12)


def test_deviation_beside_a_large_mean_keeps_its_precision():
    x = np.random.default_rng(0).normal(1e8, 1, (5000, 1))
    _, deviation = mean_and_deviation(np.array_split(x, 9), 1, "float32")
    assert deviation.dtype == "float32"
    assert deviation[0] == pytest.approx(x.std(), rel=1e-6)


def test_deviation_that_is_too_small_for_the_dtype_is_1():
    x = np.array([[0.0], [1e-60]])
    assert mean_and_deviation([x], 1, "float32")[1] == 1
    assert mean_and_deviation([x], 1, "float64")[1] == 5e-61


def test_feature_whose_squares_overflow_is_named():
    x = np.array([[1.0, -1e200], [2.0, 1e200]])
    with pytest.raises(ValueError, match=r"^feature 1 is -1e\+200 to 1e\+200, too large to be standardised"):
        mean_and_deviation([x], 2, "float64")


@pytest.mark.parametrize(
    ("model", "shape", "prefix"),
    [
        (Sequential(Standardize(3), Linear(3, 2)), (20, 3), "0."),
        (Sequential(Sequential(Standardize(3), ReLU()), Linear(3, 2)), (20, 3), "0.0."),
        (Sequential(Residual(Standardize(3)), Linear(3, 2)), (20, 3), "0.0."),
        (Sequential(Standardize(2), Conv2d(2, 1, 3), Flatten()), (20, 5, 4, 2), "0."),
    ],
    ids=["rows", "nested", "residual", "images"],
)
def test_first_layer_is_adapted_and_the_others_are_kept(xp, model, shape, prefix):
    x = rows(*shape).astype("float32")
    before = model.init(xp, 0)
    params = adapted(xp, model, x)
    assert [*params] == [*before]
    flat = x.reshape(-1, x.shape[-1]).astype("float64")
    assert_close(xp, params[f"{prefix}mean"], flat.mean(0), dtype="float32")
    assert_close(xp, params[f"{prefix}deviation"], flat.std(0), dtype="float32")
    for name in model.shapes:
        np.testing.assert_array_equal(xp.to_host(params[name]), xp.to_host(before[name]))


def test_pixels_are_standardised_as_they_enter_the_model(numpy_xp):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4)).astype("uint8")
    params = adapted(numpy_xp, Sequential(Standardize(4)), pixels, scaling=Scaling(2.0, -1.0))
    entering = pixels * 2.0 - 1
    np.testing.assert_allclose(params["0.mean"], entering.mean(0), rtol=1e-6)
    np.testing.assert_allclose(params["0.deviation"], entering.std(0), rtol=1e-6)


def test_model_without_such_a_layer_keeps_its_parameters(numpy_xp):
    model = Sequential(Linear(3, 2))
    params = model.init(numpy_xp, 0)
    assert adapted_params(numpy_xp, model, params, np.ones((2, 3)), SCALING) is params


def test_layer_that_is_not_the_first_is_refused(numpy_xp):
    model = Sequential(Linear(3, 4), Sequential(ReLU(), Standardize(4)))
    with pytest.raises(ValueError, match=r"layer 1\.1, Standardize\(n=4\), .* must be the first layer"):
        adapted(numpy_xp, model, np.ones((2, 3), "float32"))


def test_inputs_with_other_features_are_refused(numpy_xp):
    with pytest.raises(ValueError, match=r"the inputs have the shape \(2, 3\), but the layer takes 4"):
        adapted(numpy_xp, Sequential(Standardize(4)), np.ones((2, 3), "float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Sequential(Standardize(6), Linear(6, 5), ReLU(), Linear(5, 3)), (40, 6)),
        (Sequential(Standardize(2), Conv2d(2, 4, 3), ReLU(), Flatten(), Linear(48, 3)), (40, 3, 4, 2)),
    ],
    ids=["rows", "images"],
)
@pytest.mark.parametrize("optimizer", [xpnet.SGD(0.1), xpnet.AdamW(0.01)], ids=repr)
def test_compiled_training_keeps_the_state_and_learns(backend, model, shape, optimizer, dtype, tmp_path):
    x = rows(*shape).astype(dtype)
    data = Dataset(x, np.arange(40) % 3)
    before = host(backend, adapted(backend, model, x, dtype))
    options = {"optimizer": optimizer, "epochs": 4, "batch_size": 10, "dtype": dtype, "progress": False}
    run = xpnet.fit(backend, model, data, test=data, **options)
    assert run.report == ""
    after = host(backend, run.params)
    for name in model.state_shapes:
        np.testing.assert_array_equal(after[name], before[name])
    plain = xpnet.Namespace("plain", np)
    same = xpnet.fit(plain, model, data, test=data, **options)
    assert run.history[-1].train_loss == pytest.approx(same.history[-1].train_loss, rel=1e-3)
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", backend)
    assert loaded.model == model
    np.testing.assert_array_equal(loaded.predict_outputs(data), run.predict_outputs(data))


def test_state_that_is_passed_with_the_parameters_is_kept(numpy_xp):
    model, data = Sequential(Standardize(3), Linear(3, 2)), Dataset(rows(9, 3), np.arange(9) % 2)
    params = model.init(numpy_xp, 0) | {"0.mean": np.full(3, 7, "float32")}
    run = xpnet.fit(numpy_xp, model, data, params=params, optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
    assert (run.params["0.mean"] == 7).all()
