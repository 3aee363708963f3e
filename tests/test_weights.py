import numpy as np
import pytest
from checking import assert_close
from sklearn.utils.class_weight import compute_class_weight

import xpnet
from xpnet import Dataset
from xpnet.losses import LOSSES
from xpnet.weights import weighted

N, FEATURES = 60, 5
RANDOM = np.random.Generator(np.random.Philox(81))
INPUTS = RANDOM.standard_normal((N, FEATURES))
LABELS = np.array([0] * 40 + [1] * 15 + [2] * 5)
WEIGHTS = RANDOM.random(N)
VALUES = RANDOM.random((N, 3))


def fit(xp, data, **options):
    options = {"optimizer": xpnet.SGD(0.3), "epochs": 5, "batch_size": N, "dtype": "float64"} | options
    return xpnet.fit(xp, xpnet.mlp(FEATURES, 4, 3), data, progress=False, **options)


def assert_same(xp, run, expected, *, factor=100):
    for name, p in expected.params.items():
        assert_close(xp, run.params[name], xp.to_host(p), factor=factor)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_weights_change_nothing(backend, loss):
    data = Dataset(INPUTS, LABELS)
    run, expected = (
        fit(backend, data, loss=loss, sample_weight=w, test=data) for w in (np.full(N, 3.0), None)
    )
    assert run.report == ""
    assert_same(backend, run, expected)
    assert run.history[-1].train_loss == pytest.approx(expected.history[-1].train_loss)
    assert run.history[-1].test_loss == pytest.approx(expected.history[-1].test_loss)


@pytest.mark.parametrize("loss", LOSSES)
def test_sample_of_weight_2_counts_as_two_samples(backend, loss):
    twice = np.concatenate([np.arange(N), np.arange(10)])
    weights = np.where(np.arange(N) < 10, 2.0, 1.0)
    run = fit(backend, Dataset(INPUTS, LABELS, sample_weight=weights), loss=loss)
    expected = fit(backend, Dataset(INPUTS[twice], LABELS[twice]), loss=loss, batch_size=N + 10)
    assert_same(backend, run, expected)
    assert run.history[-1].train_loss == pytest.approx(expected.history[-1].train_loss)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber_error"])
def test_sample_of_weight_0_does_not_count(backend, loss):
    weights = np.where(np.arange(N) < 20, 0.0, 1.0)
    run = fit(backend, Dataset(INPUTS, VALUES, sample_weight=weights), loss=loss)
    expected = fit(backend, Dataset(INPUTS[20:], VALUES[20:]), loss=loss, batch_size=N)
    assert_same(backend, run, expected)


def test_batch_of_weight_0_changes_nothing(backend):
    weights = np.zeros(N)
    weights[0] = 1
    run = fit(backend, Dataset(INPUTS, LABELS, sample_weight=weights), batch_size=7)
    assert np.isfinite(run.history[-1].train_loss)


def test_weights_of_classes_are_those_of_their_samples(backend):
    data = Dataset(INPUTS, LABELS)
    run = fit(backend, data, class_weight={1: 3.0, 2: 0.5})
    assert_same(backend, run, fit(backend, data, sample_weight=np.array([1.0, 3.0, 0.5])[LABELS]))
    named = Dataset(INPUTS, np.array(["a", "b", "c"])[LABELS])
    assert_same(backend, run, fit(backend, named, class_weight={"b": 3.0, 2: 0.5}))
    both = fit(backend, data, class_weight={1: 3.0}, sample_weight=WEIGHTS)
    assert_same(backend, both, fit(backend, data, sample_weight=np.array([1.0, 3.0, 1.0])[LABELS] * WEIGHTS))


def test_names_of_classes_stay_with_weights(numpy_xp):
    names = np.array(["a", "b", "c"])[LABELS]
    for options in ({"class_weight": "balanced"}, {"sample_weight": WEIGHTS}, {"validation": 0.2}):
        assert fit(numpy_xp, Dataset(INPUTS, names), **options).predict(INPUTS).dtype == names.dtype


def test_balanced_weights_are_those_of_scikit_learn():
    found = weighted(Dataset(INPUTS, LABELS), None, "balanced", classes=3).sample_weight
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(found, expected[LABELS], rtol=1e-12)


def test_balanced_weights_are_those_of_what_is_trained_on(numpy_xp):
    data = Dataset(INPUTS, LABELS)
    kept, left = xpnet.datasets.split(data, share=0.3, seed=0)
    run = fit(numpy_xp, data, class_weight="balanced", validation=0.3, seed=0)
    assert_same(numpy_xp, run, fit(numpy_xp, kept, class_weight="balanced", seed=0), factor=1)
    assert run.history[-1].validation_loss == pytest.approx(run.evaluate(left).loss)  # without weights


def test_loss_of_a_measurement_is_by_weight(backend):
    data = Dataset(INPUTS, LABELS, sample_weight=WEIGHTS)
    run = fit(backend, data, test=data)
    p = run.predict_proba(INPUTS)[np.arange(N), LABELS]
    expected = np.average(-np.log(p), weights=WEIGHTS)
    assert run.evaluate(data).loss == pytest.approx(expected, rel=1e-12)
    assert run.history[-1].test_loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ({0: -1}, ValueError, r"`class_weight\[0\]` must be a finite number, 0 or above, got -1"),
        ({0: 0, 1: 0, 2: 0}, ValueError, "`class_weight` is 0 for every class of `train`"),
        ({3: 1}, ValueError, "`class_weight` has 3, which is no class; the classes are 0 to 2"),
        ({"a": 1}, ValueError, "`class_weight` has 'a', which is no class"),
        ("even", TypeError, "`class_weight` must be a dict or 'balanced', got 'even'"),
    ],
)
def test_wrong_weights_of_classes_are_refused(numpy_xp, weights, error, message):
    with pytest.raises(error, match=message):
        fit(numpy_xp, Dataset(INPUTS, LABELS), class_weight=weights)


def test_weights_that_do_not_fit_are_refused(numpy_xp):
    data = Dataset(INPUTS, LABELS, sample_weight=WEIGHTS)
    with pytest.raises(
        ValueError, match="`sample_weight` is passed, but `train` has weights; pass one of them"
    ):
        fit(numpy_xp, data, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match=r"`sample_weight` must have shape \(60,\), got \(3,\)"):
        fit(numpy_xp, Dataset(INPUTS, LABELS), sample_weight=[1, 2, 3])
    with pytest.raises(ValueError, match="`class_weight` is for targets that are class indices or names"):
        fit(numpy_xp, Dataset(INPUTS, VALUES), class_weight="balanced", loss="squared_error")
