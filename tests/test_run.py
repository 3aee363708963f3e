"""Saving, loading, evaluating, predicting."""

import json
import math
import os
import pathlib

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from checking import assert_close

import xpnet
from conftest import REGISTERED, make_namespace
from xpnet import Dropout, Linear, Momentum, ReLU, Sequential, Sigmoid, Softmax, Tanh, checkpoint

EVERY_LAYER = Sequential(
    Linear(12, 8, "he_normal"),
    ReLU(),
    Sequential(Linear(8, 6), Tanh(), Dropout(0.25)),
    Linear(6, 5, "glorot_uniform"),
    Sigmoid(),
    Linear(5, 3),
    Softmax(),
)


def train(xp, dataset, **options):
    options = {"optimizer": Momentum(1.0), "epochs": 2, "batch_size": 32, "test": dataset} | options
    return xpnet.fit(xp, EVERY_LAYER, dataset, **options)


@pytest.fixture
def saved(numpy_xp, dataset, tmp_path):
    path = tmp_path / "model.safetensors"
    train(numpy_xp, dataset, offset=-0.5).save(path)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("writer", REGISTERED)
@pytest.mark.parametrize("reader", REGISTERED)
def test_model_saved_from_one_backend_loads_on_any(writer, reader, dtype, dataset, tmp_path):
    run = train(make_namespace(writer), dataset, dtype=dtype, offset=-0.5)
    run.save(tmp_path / "model")
    xp = make_namespace(reader)
    loaded = xpnet.load(tmp_path / "model", xp)
    assert loaded.xp is xp
    assert loaded.model == run.model
    assert list(loaded.params) == list(run.params)
    for name, p in run.params.items():
        assert_close(xp, loaded.params[name], run.xp.to_host(p))
        assert loaded.params[name].dtype == getattr(xp, dtype)
    assert (loaded.loss, loaded.scaling, loaded.history) == (run.loss, run.scaling, run.history)
    assert loaded.initial_sha256 == run.initial_sha256
    np.testing.assert_array_equal(loaded.predict(dataset.images), run.predict(dataset.images))


def test_file_is_plain_safetensors_with_its_architecture(saved):
    with safetensors.safe_open(saved, framework="numpy") as file:
        assert "0.weight" in file.keys()  # noqa: SIM118
        layers = json.loads(file.metadata()["model"])["layers"]
    assert layers[0] == {"layer": "Linear", "n_in": 12, "n_out": 8, "initializer": "he_normal"}


def test_evaluation_of_the_saved_equals_the_history(saved, numpy_xp, dataset):
    run = xpnet.load(saved, numpy_xp)
    evaluation = run.evaluate(dataset)
    assert evaluation.loss == pytest.approx(run.history[-1].test_loss, rel=1e-6)
    assert evaluation.accuracy == pytest.approx(run.history[-1].test_accuracy, rel=1e-6)
    assert evaluation.confusion.sum() == len(dataset)
    assert "precision" in evaluation.report()


def test_evaluation_does_not_depend_on_the_batch_size(xp_int64, dataset):
    params = EVERY_LAYER.init(xp_int64, 0)
    whole, parts = (
        xpnet.evaluate(xp_int64, EVERY_LAYER, params, dataset, batch_size=size) for size in (90, 7)
    )
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    np.testing.assert_array_equal(parts.confusion, whole.confusion)


def test_probabilities_sum_to_one_and_prediction_is_their_largest(xp, dataset):
    params = EVERY_LAYER.init(xp, 0)
    p = xpnet.predict_proba(xp, EVERY_LAYER, params, dataset.images)
    assert p.shape == (90, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(xpnet.predict(xp, EVERY_LAYER, params, dataset.images), p.argmax(axis=1))


def test_predict_refuses_other_features(numpy_xp):
    params = EVERY_LAYER.init(numpy_xp, 0)
    with pytest.raises(ValueError, match="`images` has 11 features an image, but the model takes 12"):
        xpnet.predict(numpy_xp, EVERY_LAYER, params, np.zeros((2, 11), dtype=np.uint8))


def test_predict_refuses_nan_pixels(numpy_xp):
    images = np.zeros((2, 12), dtype=np.float32)
    images[1, 3] = np.nan
    with pytest.raises(ValueError, match="`images` must be finite, but row 1 holds nan"):
        xpnet.predict(numpy_xp, EVERY_LAYER, EVERY_LAYER.init(numpy_xp, 0), images)


def test_save_replaces_an_older_model(saved, numpy_xp, dataset):
    run = train(numpy_xp, dataset, epochs=1)
    run.save(saved)
    assert len(xpnet.load(saved, numpy_xp).history) == 1
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no/such/folder/model", "cannot write '.*model': No such file or directory; choose another place"),
        (".", "cannot write '.*': it is a folder; name a file in it"),
    ],
)
def test_unwritable_place_is_named(saved, numpy_xp, place, message):
    run = xpnet.load(saved, numpy_xp)
    before = saved.read_bytes()
    with pytest.raises(OSError, match=message):
        run.save(saved.parent / place)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert saved.read_bytes() == before


def test_failing_save_leaves_the_older_model(saved, numpy_xp, monkeypatch):
    run = xpnet.load(saved, numpy_xp)
    before = saved.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device; choose another place"):
        run.save(saved)
    assert saved.read_bytes() == before


def test_missing_model_is_named(tmp_path, numpy_xp):
    with pytest.raises(FileNotFoundError, match=r"no model at '.*none'; pass a file that"):
        xpnet.load(tmp_path / "none", numpy_xp)


def rewrite(path, tensors=None, **changes):
    """Write the file again with other arrays or other metadata."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | changes
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kept = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(safetensors.numpy.save(old | (tensors or {}), kept))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(b""), "not a whole safetensors file"),
        (lambda p: p.write_bytes(b"\x80\x04pickled"), "not a whole safetensors file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-2] + b"\x00\x11"), "its bytes have changed"),
        (lambda p: rewrite(p, format=None), "its format is None, not 'xpnet model 1'"),
        (lambda p: rewrite(p, format="xpnet model 2"), "its format is 'xpnet model 2', not"),
        (lambda p: rewrite(p, model="{"), "its description cannot be read"),
        (
            lambda p: rewrite(p, model='{"layer": "Conv"}'),
            "its description cannot be read: .*unknown layer 'Conv'",
        ),
        (lambda p: rewrite(p, model='{"layer": "ReLU"}'), "it holds a ReLU, not a Sequential"),
        (lambda p: rewrite(p, model='{"layer": "Linear", "n_in": -1, "n_out": 2}'), ".*`n_in` must be"),
        (
            lambda p: rewrite(p, {"extra": np.zeros(3, np.float32)}),
            "its arrays are not those of its architecture",
        ),
        (
            lambda p: rewrite(p, {"0.bias": np.zeros(7, np.float32)}),
            "its arrays are not those of its architecture",
        ),
        (
            lambda p: rewrite(p, {"0.bias": np.zeros(8, np.int32)}),
            "its arrays are float32 and int32, not all",
        ),
        (lambda p: rewrite(p, about="{}"), "its bytes have changed since it was written"),
        (lambda p: rewrite(p, model="[" * 200_000), "its description cannot be read"),
    ],
)
def test_damaged_or_foreign_file_is_refused(saved, numpy_xp, damage, message):
    damage(saved)
    with pytest.raises(ValueError, match=rf"'.*model.safetensors' is not an xpnet model \({message}"):
        xpnet.load(saved, numpy_xp)


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("loss"),
        lambda about: about.update(loss="hinge"),
        lambda about: about.update(loss=["hinge"]),
        lambda about: about.update(scaling={"scale": None, "offset": 0.0}),
        lambda about: about.update(scaling={"scale": float("nan"), "offset": 0.0}),
        lambda about: about.update(history=[{"epoch": 1}]),
    ],
)
def test_file_that_lies_about_its_training_is_refused(saved, numpy_xp, change):
    model, params, about = checkpoint.load(saved, numpy_xp)
    change(about)
    checkpoint.save(saved, numpy_xp, model, params, about)
    with pytest.raises(ValueError, match="what it says about itself cannot be used: "):
        xpnet.load(saved, numpy_xp)


def metadata_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata()


def test_files_of_equal_runs_differ_in_the_seconds_only(numpy_xp, dataset, tmp_path):
    files = [tmp_path / name for name in "ab"]
    for file in files:
        train(numpy_xp, dataset).save(file)
    one, other = map(metadata_of, files)
    assert one["about"] != other["about"]
    assert one["sha256"] == other["sha256"]
    assert {key for key in one if one[key] != other[key]} == {"about", "about_sha256"}
    longer = train(numpy_xp, dataset, epochs=3)
    longer.save(files[1])
    assert metadata_of(files[1])["sha256"] != one["sha256"]


def test_one_run_is_saved_as_the_same_bytes_by_every_process(saved, numpy_xp):
    header = saved.read_bytes()[8:]
    assert header.index(b'"about"') < header.index(b'"format"') < header.index(b'"model"')
    assert header.index(b'"model"') < header.index(b'"sha256"')
    assert int.from_bytes(saved.read_bytes()[:8], "little") % 8 == 0
    again = saved.with_name("again")
    xpnet.load(saved, numpy_xp).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_altered_seconds_are_noticed(saved, numpy_xp):
    about = metadata_of(saved)["about"]
    rewrite(saved, about=about.replace('"seconds": ', '"seconds": 1'))
    with pytest.raises(ValueError, match="its bytes have changed since it was written"):
        xpnet.load(saved, numpy_xp)


def test_file_with_the_seconds_in_its_hash_is_loaded(saved, numpy_xp):
    metadata = metadata_of(saved) | {"about_sha256": None}
    with safetensors.safe_open(saved, framework="numpy") as file:
        arrays = [file.get_tensor(name) for name in xpnet.load(saved, numpy_xp).model.shapes]
    texts = [np.frombuffer(metadata[key].encode(), np.uint8) for key in ("model", "about")]
    rewrite(saved, about_sha256=None, sha256=checkpoint.sha256([*texts, *arrays]))
    assert xpnet.load(saved, numpy_xp).history


def test_altered_architecture_is_noticed(saved, numpy_xp):
    with safetensors.safe_open(saved, framework="numpy") as file:
        model = file.metadata()["model"]
    rewrite(saved, model=model.replace("Sigmoid", "Tanh"))
    with pytest.raises(ValueError, match="its bytes have changed since it was written"):
        xpnet.load(saved, numpy_xp)


def test_load_chooses_the_default_backend(saved, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    assert xpnet.load(saved).xp is xpnet.backend("numpy")


def test_save_through_a_link_keeps_the_link(saved, numpy_xp):
    link = saved.with_name("link")
    link.symlink_to(saved)
    xpnet.load(saved, numpy_xp).save(link)
    assert link.is_symlink()
    assert xpnet.load(link, numpy_xp).history


def test_save_into_a_device_leaves_the_device(saved, numpy_xp):
    xpnet.load(saved, numpy_xp).save(os.devnull)
    assert pathlib.Path(os.devnull).is_char_device()


def test_predict_takes_a_data_set(saved, numpy_xp, dataset):
    run = xpnet.load(saved, numpy_xp)
    np.testing.assert_array_equal(run.predict(dataset), run.predict(dataset.images))


def test_folder_is_refused_as_a_model(tmp_path, numpy_xp):
    with pytest.raises(OSError, match=r"cannot read '.*'.*pass a file that"):
        xpnet.load(tmp_path, numpy_xp)


def test_saved_history_is_strict_json(saved, numpy_xp):
    run = xpnet.load(saved, numpy_xp)
    run.history = [xpnet.Epoch(1, float("nan"), float("inf"), 0.5, 1.0)]
    run.save(saved)
    with safetensors.safe_open(saved, framework="numpy") as file:
        about = json.loads(file.metadata()["about"], parse_constant=pytest.fail)
    assert about["history"][0]["train_loss"] is None
    assert math.isnan(xpnet.load(saved, numpy_xp).history[0].train_loss)
