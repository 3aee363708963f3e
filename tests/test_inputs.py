"""A model remembers how its images were stored, scaled and named."""

import json

import numpy as np
import pytest

import xpnet
from xpnet import Dataset, checkpoint
from xpnet.batches import Scaling
from xpnet.inputs import Inputs

MODEL = xpnet.mlp(12, 8, 3)

# Common ways to turn pixels in 0..255 into floats.
RAW = lambda x: x.astype("float32")  # noqa: E731
SHARE = lambda x: x / 255  # noqa: E731
CENTRED = lambda x: (x / 255 - 0.5).astype("float32")  # noqa: E731
SIGNED = lambda x: x / 127.5 - 1  # noqa: E731
STANDARD = lambda x: (x - x.mean()) / (0.3 * x.std())  # noqa: E731
TWICE = lambda x: x / 255 / 255  # noqa: E731


def stored(dataset, make):
    return Dataset(make(dataset.images), dataset.labels)


def fit(xp, data, **options):
    return xpnet.fit(xp, MODEL, data, optimizer=xpnet.Momentum(1.0), epochs=1, batch_size=32, **options)


def refusals(xp, data, test, **options):
    """Yield the error of each way to use a test set, or None."""
    run = fit(xp, data, **options)
    uses = [
        lambda: fit(xp, data, test=test, **options),
        lambda: run.evaluate(test),
        lambda: run.predict(test),
        lambda: run.predict_proba(test.images),
    ]
    for use in uses:
        try:
            use()
            yield None
        except ValueError as e:
            yield str(e)


@pytest.mark.parametrize("wrong", [RAW, CENTRED, SIGNED, STANDARD, TWICE])
def test_floats_scaled_otherwise_than_the_pixels_are_refused(backend, dataset, wrong):
    names = ("test", "dataset", "images", "images")
    for name, message in zip(names, refusals(backend, dataset, stored(dataset, wrong)), strict=True):
        assert message is not None
        assert message.startswith(f"`{name}` holds float")
        assert "is trained on uint8 pixels, which enter the model as 0 to 1; pass images that" in message


@pytest.mark.parametrize("wrong", [RAW, CENTRED, SIGNED, STANDARD, TWICE])
def test_pixels_scaled_otherwise_than_the_floats_are_refused(numpy_xp, dataset, wrong):
    for message in refusals(numpy_xp, stored(dataset, wrong), dataset):
        assert "holds uint8 pixels, which enter the model as 0 to 1, but the model is trained on f" in message


@pytest.mark.parametrize(("first", "second"), [(SHARE, RAW), (RAW, SHARE), (CENTRED, RAW), (SHARE, TWICE)])
def test_floats_of_another_scale_are_refused(numpy_xp, dataset, first, second):
    for message in refusals(numpy_xp, stored(dataset, first), stored(dataset, second)):
        assert "but the model is trained on float" in message


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        (SHARE, SHARE, {}),
        (lambda x: x, SHARE, {}),
        (SHARE, lambda x: x, {}),
        (lambda x: x, lambda x: SHARE(x).astype("float32"), {}),
        (lambda x: x, lambda x: x * np.float32(1 / 255), {}),
        (lambda x: x, lambda x: SHARE(x) * 1.2 - 0.1, {}),
        (lambda x: x, CENTRED, {"offset": -0.5}),
        (lambda x: x, lambda x: 1 - SHARE(x), {"scale": -1 / 255, "offset": 1.0}),
        (lambda x: x, RAW, {"scale": 1.0}),
        (RAW, lambda x: x, {"scale": 1.0}),
        (SHARE, lambda x: 20 * SHARE(x), {}),
        (lambda x: x, lambda x: x // 4, {}),
        (lambda x: x, lambda x: 0.0 * x, {}),
    ],
)
def test_images_scaled_alike_are_taken(numpy_xp, dataset, first, second, options):
    found = list(refusals(numpy_xp, stored(dataset, first), stored(dataset, second), **options))
    assert found == [None] * 4


def of_kind(name, rng, n):
    """Return valid features of a kind, shape (n, 12)."""
    if name == "heavy tails":
        return rng.standard_cauchy((n, 12))
    if name == "amounts of money":
        return rng.lognormal(3, 3, (n, 12))
    if name == "rare outliers":
        return rng.normal(size=(n, 12)) * (1 + 1e4 * (rng.random((n, 1)) < 0.005))
    if name == "mostly empty":
        return rng.normal(size=(n, 12)) * (rng.random((n, 1)) < 0.1)
    return rng.normal(size=(n, 12))


@pytest.mark.parametrize(
    "kind", ["heavy tails", "amounts of money", "rare outliers", "mostly empty", "normal"]
)
@pytest.mark.parametrize("seed", range(5))
def test_honest_features_of_any_kind_are_taken(numpy_xp, kind, seed):
    rng = np.random.default_rng(seed)
    train = Dataset(of_kind(kind, rng, 2000), rng.integers(0, 3, 2000))
    inputs = Inputs.of(train, Scaling())
    for n in (1, 2, 30, 200, 2000):
        inputs.check("test", Inputs.of(Dataset(of_kind(kind, rng, n), np.zeros(n, dtype=int)), Scaling()))


def test_single_outlier_of_a_test_set_is_taken(numpy_xp):
    rng = np.random.default_rng(0)
    run = fit(numpy_xp, Dataset(rng.normal(size=(100, 12)), rng.integers(0, 3, 100)))
    features = rng.normal(size=(50, 12))
    features[7, 3] = 1e6
    assert run.predict(features).shape == (50,)


def test_pixels_of_0_and_1_go_with_floats_of_0_and_1(numpy_xp):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 2, (90, 12)), rng.integers(0, 3, 90)
    run = fit(numpy_xp, Dataset(pixels.astype("uint8"), labels), scale=1.0)
    np.testing.assert_array_equal(run.predict(pixels.astype("float32")), run.predict(pixels.astype("uint8")))


def test_single_dark_image_is_taken(numpy_xp, dataset):
    run = fit(numpy_xp, stored(dataset, RAW))
    assert run.predict(np.eye(1, 12)).shape == (1,)
    assert run.predict(np.zeros((1, 12))).shape == (1,)


def test_functions_take_images_of_any_scale(numpy_xp, dataset):
    run = fit(numpy_xp, dataset)
    raw = stored(dataset, RAW)
    assert xpnet.evaluate(numpy_xp, MODEL, run.params, raw).confusion.sum() == 90
    assert xpnet.predict(numpy_xp, MODEL, run.params, raw).shape == (90,)


@pytest.mark.parametrize("make", [SHARE, lambda x: x])
def test_saved_model_knows_its_inputs(numpy_xp, dataset, tmp_path, make):
    run = fit(numpy_xp, Dataset(make(dataset.images), dataset.labels, name="patterns"), offset=-0.25)
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", numpy_xp)
    assert loaded.inputs == run.inputs
    assert (run.inputs.name, run.inputs.count) == ("patterns", 90)
    with pytest.raises(ValueError, match="`dataset` holds float32 values of"):
        loaded.evaluate(stored(dataset, lambda x: 1e3 * RAW(x)))


def test_file_without_inputs_loads_and_takes_any_images(numpy_xp, dataset, tmp_path):
    path = tmp_path / "model"
    fit(numpy_xp, dataset).save(path)
    model, params, about = checkpoint.load(path, numpy_xp)
    del about["inputs"]
    checkpoint.save(path, numpy_xp, model, params, about)
    run = xpnet.load(path, numpy_xp)
    assert run.inputs is None
    assert run.evaluate(stored(dataset, RAW)).confusion.sum() == 90
    run.save(path)
    assert xpnet.load(path, numpy_xp).inputs is None


@pytest.mark.parametrize("change", [{"low": None}, {"high": "1"}, {"size": "1"}, {"other": 3}])
def test_file_that_lies_about_its_inputs_is_refused(numpy_xp, dataset, tmp_path, change):
    path = tmp_path / "model"
    fit(numpy_xp, dataset).save(path)
    model, params, about = checkpoint.load(path, numpy_xp)
    about["inputs"].update(change)
    checkpoint.save(path, numpy_xp, model, params, json.loads(json.dumps(about)))
    with pytest.raises(ValueError, match="what it says about itself cannot be used: "):
        xpnet.load(path, numpy_xp)


def test_bundled_data_have_a_name(mnist):
    inputs = Inputs.of(mnist[0][:100], Scaling(1 / 255, -0.5))
    assert inputs == Inputs("uint8", -0.5, 0.5, 100, "mnist")


def test_evaluation_of_something_other_than_a_data_set_is_refused(numpy_xp, dataset):
    with pytest.raises(TypeError, match="`dataset` must be a Dataset, got ndarray"):
        fit(numpy_xp, dataset).evaluate(dataset.images)
