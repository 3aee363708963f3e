"""The data of a training or an evaluation: finite in its dtype, stored by rows, and a snapshot."""

import numpy as np
import pytest

import xpnet
from xpnet import Dataset, Linear, Sequential
from xpnet.batches import Batches, Scaling
from xpnet.measure import Measure
from xpnet.targets import Targets

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


def test_outputs_that_are_not_finite_are_refused_as_predictions(numpy_xp):
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


def make_data(rows=40, dtype="uint8"):
    images = np.random.Generator(np.random.Philox(3)).integers(0, 256, (rows, 4)).astype(dtype)
    return images, (images[:, 0] > 128).astype("int32")


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("part", ["images", "labels", "both"])
def test_training_does_not_see_later_changes_of_its_data(xp_int64, dtype, part):
    images, labels = make_data(dtype=dtype)
    data = Dataset(images, labels)
    options = {"epochs": 3, "test": data[:20]}
    expected = fit(xp_int64, data, **options)

    def change(run):
        if part != "labels":
            images[...] = 0
        if part != "images":
            labels[...] = 0

    run = fit(xp_int64, data, callbacks=[change], **options)
    for ours, theirs in zip(run.history, expected.history, strict=True):
        assert (ours.train_loss, ours.test_loss) == (theirs.train_loss, theirs.test_loss)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_measurement_sees_what_the_data_hold_then(backend, dtype):
    images, labels = make_data(dtype=dtype)
    data = Dataset(images, labels)
    run = fit(backend, data)
    run.evaluate(data)
    images[...] = images[::-1].copy()
    labels[...] = labels[::-1].copy()
    fresh = Dataset(images.copy(), labels.copy())
    assert run.evaluate(data).loss == run.evaluate(fresh).loss
    np.testing.assert_array_equal(run.predict_proba(data), run.predict_proba(fresh))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_training_copies_images_only_if_they_may_change(numpy_xp, dtype):
    images, labels = make_data(dtype=dtype)
    frozen = images.copy()
    frozen.flags.writeable = False
    for array, shared in ((images, False), (frozen, True)):
        data = Dataset(array, labels)[5:]
        batches = Batches(numpy_xp, data.images, dtype="float32", scaling=Scaling(), keep=True)
        assert np.shares_memory(batches.images, array) is shared


def test_training_copies_images_in_memory_that_is_not_numpys(numpy_xp, tmp_path):
    memory = bytearray(90 * 12)
    foreign = np.frombuffer(memoryview(memory).toreadonly(), dtype=np.uint8).reshape(90, 12)
    batches = Batches(numpy_xp, foreign, dtype="float32", scaling=Scaling(), keep=True)
    memory[:] = b"\1" * len(memory)
    assert foreign.min() == 1
    assert batches.images.max() == 0
    # A mapped file may be larger than the memory, so it is not copied.
    np.save(tmp_path / "images.npy", foreign)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    batches = Batches(numpy_xp, mapped, dtype="float32", scaling=Scaling(), keep=True)
    assert np.shares_memory(batches.images, mapped)


def test_bundled_images_need_no_copy(numpy_xp, mnist):
    images = mnist[0][:100].images
    batches = Batches(numpy_xp, images, dtype="float32", scaling=Scaling(), keep=True)
    assert np.shares_memory(batches.images, images)


ORDERS = {
    "Fortran": lambda x: x.T.copy().T,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_images_and_labels_enter_row_by_row(backend, dtype, order):
    images, labels = make_data(dtype=dtype)
    stored = Dataset(ORDERS[order](images), ORDERS[order](labels))
    assert not stored.images.flags.c_contiguous
    for keep in (True, False):
        batches = Batches(backend, stored.images, dtype="float32", scaling=Scaling(), keep=keep)
        assert batches.images.flags.c_contiguous
        targets = Targets(backend, stored.labels, None, task="classes", dtype="float32")
        assert targets.truth.flags.c_contiguous
        np.testing.assert_array_equal(backend.to_host(batches.images), images)
    run, expected = (fit(backend, data, epochs=2, test=data) for data in (stored, Dataset(images, labels)))
    assert run.history[-1].test_loss == expected.history[-1].test_loss
    np.testing.assert_array_equal(run.predict_proba(stored.images), expected.predict_proba(images))


@pytest.mark.parametrize("order", ORDERS)
def test_parameters_enter_row_by_row(backend, order):
    params = MODEL.init(backend, 0)
    stored = {name: ORDERS[order](p) for name, p in params.items()}
    data = Dataset(*make_data())
    seen = []

    class Looking(xpnet.SGD):
        def init(self, xp, params):
            seen.extend(params.values())
            return super().init(xp, params)

    run, expected = (fit(backend, data, params=p, optimizer=Looking(0.1)) for p in (stored, params))
    assert all(p.flags.c_contiguous for p in [*seen, *run.params.values()])
    assert run.history[-1].train_loss == expected.history[-1].train_loss
    for use in (xpnet.predict_proba, lambda *args: xpnet.evaluate(*args).confusion):
        what = data if use is not xpnet.predict_proba else data.images
        np.testing.assert_array_equal(use(backend, MODEL, stored, what), use(backend, MODEL, params, what))


def test_compiled_measurement_gets_parameters_row_by_row(monkeypatch):
    """Other memory layouts cannot be replayed."""
    xp = xpnet.backend("numpy")
    seen = []
    measure = Measure.__call__

    def spy(self, params):
        seen.extend(params.values())
        return measure(self, params)

    monkeypatch.setattr(Measure, "__call__", spy)
    stored = {name: np.asfortranarray(p) for name, p in MODEL.init(xp, 0).items()}
    xpnet.evaluate(xp, MODEL, stored, Dataset(*make_data()))
    assert seen
    assert all(p.flags.c_contiguous for p in seen)
