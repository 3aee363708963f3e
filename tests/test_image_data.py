"""Images enter models as images or as rows, in training and in use."""

import numpy as np
import pytest

import xpnet
from xpnet import Conv2d, Dataset, Flatten, GlobalAvgPool2d, Linear, ReLU, Sequential
from xpnet.problem import check_fit, class_count

OF_IMAGES = Sequential(Conv2d(2, 4, 3, padding="valid"), ReLU(), Flatten(), Linear(4 * 3 * 4, 3))
WITHOUT_LINEAR = Sequential(Conv2d(2, 3, 3, padding="valid"), GlobalAvgPool2d())


def make_data(shape=(12, 5, 6, 2), dtype="uint8", **options):
    rng = np.random.default_rng(0)
    return Dataset(rng.integers(0, 256, shape).astype(dtype), np.arange(shape[0]) % 3, **options)


def fit(xp, model, data, **options):
    return xpnet.fit(
        xp, model, data, optimizer=xpnet.SGD(0.1), epochs=2, batch_size=5, progress=False, **options
    )


@pytest.mark.parametrize("model", [OF_IMAGES, WITHOUT_LINEAR])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_model_of_images_is_trained_saved_and_used(backend, model, dtype, tmp_path):
    data = make_data(dtype=dtype, classes=("a", "b", "c"))
    run = fit(backend, model, data, test=data[:4])
    assert run.inputs.shape == (5, 6, 2)
    run.save(tmp_path / "model.safetensors")
    loaded = xpnet.load(tmp_path / "model.safetensors", backend)
    assert (loaded.inputs, loaded.classes) == (run.inputs, ("a", "b", "c"))
    assert loaded.evaluate(data) == run.evaluate(data)
    np.testing.assert_array_equal(loaded.predict(data.images), run.predict(data))
    assert run.predict_proba(data).shape == run.predict_outputs(data.images).shape == (12, 3)


def test_images_without_channels_have_one(xp):
    data = make_data((12, 5, 6))
    model = Sequential(Conv2d(1, 3, 3, padding="valid"), GlobalAvgPool2d())
    run = fit(xp, model, data)
    assert run.inputs.shape == (5, 6, 1)
    np.testing.assert_array_equal(run.predict(data.images), run.predict(data.images[..., None]))


def test_model_of_rows_takes_images_as_rows(xp):
    data, model = make_data(), xpnet.mlp(60, 4, 3)
    rows = Dataset(data.images.reshape(12, 60), data.labels)
    first, second = fit(xp, model, data), fit(xp, model, rows)
    for name, p in first.params.items():
        np.testing.assert_array_equal(xp.to_host(p), xp.to_host(second.params[name]))
    np.testing.assert_array_equal(first.predict(rows), second.predict(data))


def test_number_of_classes_is_that_of_the_shape():
    assert class_count(OF_IMAGES) == class_count(WITHOUT_LINEAR) == 3
    assert class_count(Sequential(Conv2d(1, 2, 3, padding="valid"), Flatten()), (3, 4, 1)) == 4


@pytest.mark.parametrize(
    ("shape", "model", "message"),
    [
        ((12, 60), OF_IMAGES, r"`test` has rows of 60 features, but the model takes images: pass them with"),
        (
            (12, 5, 6),
            OF_IMAGES,
            r"`test` has the shape \(12, 5, 6\), .*\(height, width, 2\), but is given \(5, 6, 1\)",
        ),
        ((12, 2, 6, 2), OF_IMAGES, r"has the shape \(12, 2, 6, 2\), .*larger than an image"),
        ((12, 6, 6, 2), OF_IMAGES, "layer 3 takes 48 features, but layer 2 gives 64"),
        ((5, 6, 2), OF_IMAGES, r"single image, pass `images.reshape\(1, 5, 6, 2\)`"),
        ((5, 6, 2), xpnet.mlp(60, 3), r"single image, pass `images.reshape\(1, 60\)`"),
        ((12, 5, 6), xpnet.mlp(60, 3), r"30 features an image, of shape \(5, 6\), but the model takes 60"),
        (
            (12, 5, 6, 2),
            Sequential(Conv2d(2, 3, 3, padding="valid")),
            r"gives images \(3, 4, 3\) of \(5, 6, 2\), but a loss",
        ),
    ],
)
def test_images_that_do_not_fit_the_model_are_refused(shape, model, message):
    with pytest.raises(ValueError, match=message):
        check_fit("test", make_data(shape), model)


def test_names_that_are_not_the_models_are_refused(numpy_xp):
    run = fit(numpy_xp, OF_IMAGES, make_data(classes=["abc", "b", "c"]))
    assert "abc" in run.evaluate(make_data()).report()
    with pytest.raises(
        ValueError,
        match="`dataset` has the class 'd', which the model does not know: it knows 'abc', 'b', 'c'",
    ):
        run.evaluate(make_data(classes=["abc", "b", "d"]))
    with pytest.raises(ValueError, match="`train` names 4 classes, but the model tells 3 apart"):
        fit(numpy_xp, OF_IMAGES, make_data(classes=list("abcd")))
