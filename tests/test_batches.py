"""What enters a training or a measurement: finite in its dtype, stored row by row, and a snapshot."""

import numpy as np
import pytest

import xpnet
from xpnet import Dataset, Linear, Sequential

MODEL = xpnet.mlp(4, 3, 2)
LABELS = np.arange(6) % 2


def images_with(value, dtype="float64"):
    images = np.ones((6, 4), dtype)
    images[2, 1] = value
    return images


def fit(xp, data, model=MODEL, **options):
    options = {"optimizer": xpnet.SGD(0.1), "epochs": 1, "batch_size": 4} | options
    return xpnet.fit(xp, model, data, **options)


@pytest.mark.parametrize("value", [1e39, -3.5e38])
def test_value_beyond_float32_is_refused_where_it_enters(xp, value):
    far, good = Dataset(images_with(value), LABELS), Dataset(images_with(1.0), LABELS)
    params = MODEL.init(xp, 0)
    uses = {
        "train": lambda: fit(xp, far),
        "test": lambda: fit(xp, good, test=far),
        "dataset": lambda: xpnet.evaluate(xp, MODEL, params, far),
        "images": lambda: xpnet.predict(xp, MODEL, params, far.images),
    }
    for name, use in uses.items():
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
            use()
        assert str(caught.value) == (
            f"`{name}` holds {value!r} in row 2, which is beyond float32; "
            "train with `dtype='float64'`, or scale the features"
        )


def test_value_beyond_float32_enters_float64(xp64):
    data = Dataset(images_with(1e39) * 1e-39, LABELS)
    fit(xp64, data, dtype="float64")
    p = xpnet.predict_proba(xp64, MODEL, MODEL.init(xp64, 0, dtype="float64"), images_with(1e39))
    assert np.isfinite(p).all()


def test_outputs_that_are_not_finite_are_no_prediction(numpy_xp):
    largest = images_with(float(np.finfo("float32").max))
    params = {"0.weight": np.full((4, 2), 9, "float32"), "0.bias": np.zeros(2, "float32")}
    message = "outputs for row 2 are not finite; its parameters or the features are too large for float32"
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match=message):
        xpnet.predict_proba(numpy_xp, Sequential(Linear(4, 2)), params, largest)


def test_value_that_became_nan_is_refused_where_it_enters(numpy_xp):
    images = images_with(1.0, "float32")
    data = Dataset(images, LABELS)
    images[3, 0] = np.nan
    with pytest.raises(ValueError, match="`train` must be finite, but row 3 holds nan; repair or drop"):
        fit(numpy_xp, data)


@pytest.mark.parametrize(("scale", "dtype"), [(1e38, "float32"), (1e307, "float64")])
def test_scale_that_makes_numbers_beyond_the_dtype_is_refused(numpy_xp, scale, dtype):
    data = Dataset(np.ones((6, 4), np.uint8), LABELS)
    with pytest.raises(ValueError, match=rf"^`scale` 1e\+.* make numbers up to .* beyond {dtype}; choose"):
        fit(numpy_xp, data, scale=scale, dtype=dtype)
