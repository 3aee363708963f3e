import numpy as np
import pytest
from checking import assert_close

import xpnet
from xpnet import Dataset
from xpnet.losses import HuberError, SigmoidCrossEntropy, SoftmaxCrossEntropy

N, FEATURES = 90, 6
RANDOM = np.random.Generator(np.random.Philox(18))
INPUTS = RANDOM.standard_normal((N, FEATURES)).astype("float32")
SCORES = INPUTS @ RANDOM.standard_normal((FEATURES, 3)).astype("float32")
CLASSES = SCORES.argmax(axis=1)
NAMES = np.array(["cow", "cat", "dog"])  # not in order of the alphabet
LABELS = SCORES > 0
SOFT = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)


def fit(xp, targets, outputs=3, **options):
    options = {"optimizer": xpnet.Adam(0.02), "epochs": 40, "batch_size": 30, "seed": 1} | options
    data = targets if isinstance(targets, Dataset) else Dataset(INPUTS, targets)
    return xpnet.fit(xp, xpnet.mlp(FEATURES, 16, outputs), data, progress=False, **options)


def copies_of(run, path):
    """Return the run and what is loaded after it was saved."""
    run.save(path / "model.safetensors")
    return run, xpnet.load(path / "model.safetensors", run.xp)


def test_names_of_classes_come_back_from_predictions(backend, tmp_path):
    data = Dataset(INPUTS, NAMES[CLASSES])
    for run in copies_of(fit(backend, data, test=data), tmp_path):
        assert run.classes == ("cat", "cow", "dog")
        assert (run.predict(INPUTS) == NAMES[CLASSES]).mean() > 0.9
        assert "cow" in run.evaluate(data).report()
    assert run.history[-1].test_accuracy == run.evaluate(data).accuracy > 0.9


def test_class_indices_come_back_from_predictions_though_classes_have_names(numpy_xp):
    run = fit(numpy_xp, Dataset(INPUTS, CLASSES, classes=NAMES.tolist()))
    assert (run.predict(INPUTS) == CLASSES).mean() > 0.9


def test_names_mean_the_same_in_another_data_set(numpy_xp):
    run = fit(numpy_xp, NAMES[CLASSES])
    some = CLASSES != 0  # without "cow", so that the indices of the others differ
    part = Dataset(INPUTS[some], NAMES[CLASSES[some]])
    assert part.classes == ("cat", "dog")
    assert run.evaluate(part).accuracy == (run.predict(part) == NAMES[CLASSES[some]]).mean() > 0.9
    again = fit(numpy_xp, NAMES[CLASSES], test=part)
    assert again.history[-1].test_accuracy == run.evaluate(part).accuracy


def test_name_that_the_model_does_not_know_is_refused(numpy_xp):
    run = fit(numpy_xp, NAMES[CLASSES], epochs=1)
    with pytest.raises(ValueError, match="the class 'bat', which the model does not know: it knows 'cat', '"):
        run.evaluate(Dataset(INPUTS[:3], ["cat", "dog", "bat"]))
    with pytest.raises(ValueError, match="`validation` has the class 'ape' and 1 more, which the model does"):
        fit(numpy_xp, NAMES[CLASSES], validation=Dataset(INPUTS[:3], ["cat", "bat", "ape"]))
    with pytest.raises(ValueError, match="names of classes, but the model was trained on numbers of classes"):
        fit(numpy_xp, CLASSES, epochs=1).evaluate(Dataset(INPUTS[:3], ["cat", "dog", "bat"]))


def test_one_hot_rows_train_like_class_indices(backend):
    one_hot, indices = (fit(backend, t, dtype="float64") for t in (np.eye(3)[CLASSES], CLASSES))
    assert one_hot.report == indices.report == ""
    for name, p in indices.params.items():
        assert_close(backend, one_hot.params[name], backend.to_host(p), factor=1e4)
    np.testing.assert_array_equal(one_hot.predict(INPUTS), indices.predict(INPUTS))


def test_soft_labels_are_learned_as_probabilities(backend, tmp_path):
    data = Dataset(INPUTS, SOFT)
    run = fit(backend, data, test=data, epochs=300)
    assert run.report == ""
    for same in copies_of(run, tmp_path):
        assert np.abs(same.predict_proba(INPUTS) - SOFT).max() < 0.15
        assert same.evaluate(data).accuracy == (same.predict(INPUTS) == CLASSES).mean() > 0.9


def test_each_of_several_labels_is_predicted(backend, tmp_path):
    data = Dataset(INPUTS, LABELS)
    run = fit(backend, data, loss="sigmoid_cross_entropy", test=data, validation=data)
    assert run.report == ""
    for same in copies_of(run, tmp_path):
        assert same.task == "labels"
        found, evaluation = same.predict(INPUTS), same.evaluate(data)
        assert found.shape == LABELS.shape
        assert set(found.ravel().tolist()) == {0, 1}
        assert evaluation.accuracy == pytest.approx((found == LABELS).mean())
        assert evaluation.accuracy > 0.9
        assert evaluation.confusion is None
        assert f"f1   {evaluation.metrics['f1']:.4f}" in evaluation.report()
    assert run.history[-1].test_accuracy == pytest.approx(evaluation.accuracy)
    assert run.history[-1].validation_loss == run.history[-1].test_loss


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber_error", HuberError(0.1)])
@pytest.mark.parametrize("columns", [1, 3])
def test_values_are_predicted(backend, tmp_path, loss, columns):
    values = SCORES[:, :columns]
    data = Dataset(INPUTS, values)
    run = fit(backend, data, columns, loss=loss, test=data, epochs=200)
    assert run.report == ""
    for same in copies_of(run, tmp_path):
        assert same.loss == loss
        found, evaluation = same.predict(INPUTS), same.evaluate(data)
        assert found.shape == values.shape
        assert evaluation.metrics["mae"] == pytest.approx(np.abs(found - values).mean(), rel=1e-5)
        assert evaluation.metrics["r2"] > 0.9
        assert evaluation.accuracy is None
        assert evaluation.loss == pytest.approx(run.history[-1].test_loss)
    assert run.history[-1].test_accuracy is None


def test_one_column_of_floats_is_a_binary_label_or_values(numpy_xp):
    binary = fit(numpy_xp, LABELS[:, 0].astype("float32"), 1, loss="sigmoid_cross_entropy")
    assert (binary.predict(INPUTS) == LABELS[:, 0]).mean() > 0.9
    assert binary.predict_proba(INPUTS).shape == (N, 2)
    values = fit(numpy_xp, LABELS[:, 0].astype("float32"), 1, loss="squared_error")
    assert values.predict(INPUTS).shape == (N, 1)


@pytest.mark.parametrize(
    ("targets", "outputs", "loss", "message"),
    [
        (
            SOFT,
            4,
            "softmax_cross_entropy",
            "has 3 floating-point targets a row, but the model has 4 outputs; gi",
        ),
        (
            CLASSES.astype(float),
            3,
            "softmax_cross_entropy",
            "has 1 floating-point target a row, .* pass them as",
        ),
        (LABELS, 3, "softmax_cross_entropy", "has targets that add up to .*`loss='sigmoid_cross_entropy'`"),
        (
            SCORES,
            3,
            "softmax_cross_entropy",
            r"has the target .*takes 0 to 1; to predict values, pass `loss='sq",
        ),
        (
            SCORES,
            3,
            "sigmoid_cross_entropy",
            "has the target .* in row 0, but sigmoid_cross_entropy takes 0 to 1",
        ),
        (CLASSES + 1, 3, "softmax_cross_entropy", "has the label 3, but the model tells 3 classes apart"),
    ],
)
def test_targets_that_do_not_fit_are_refused(numpy_xp, targets, outputs, loss, message):
    with pytest.raises(ValueError, match=f"^`train` {message}"):
        fit(numpy_xp, targets, outputs, loss=loss)


def test_test_set_with_targets_of_another_kind_is_refused(numpy_xp):
    with pytest.raises(ValueError, match="`test` and `train` have targets of different kinds, of shapes"):
        fit(numpy_xp, LABELS, loss="sigmoid_cross_entropy", test=Dataset(INPUTS, CLASSES))


def test_share_for_validation_is_left_out_of_training(backend):
    run = fit(backend, CLASSES, validation=0.2, epochs=2)
    kept, left = xpnet.datasets.split(Dataset(INPUTS, CLASSES), share=0.2, seed=1)
    assert run.inputs.count == len(kept)
    expected = fit(backend, kept, validation=left, epochs=2)
    assert run.history[-1].validation_loss == expected.history[-1].validation_loss
    assert run.history[-1].validation_accuracy == run.evaluate(left).accuracy
    for name, p in expected.params.items():
        np.testing.assert_array_equal(backend.to_host(run.params[name]), backend.to_host(p))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_share_out_of_range_is_refused(numpy_xp, share):
    with pytest.raises(ValueError, match="`share` must be"):
        fit(numpy_xp, CLASSES, validation=share)


def test_validation_of_another_type_is_refused(numpy_xp):
    with pytest.raises(TypeError, match="`validation` must be a Dataset or a share of `train`, got tuple"):
        fit(numpy_xp, CLASSES, validation=(INPUTS, CLASSES))


def own_error(xp, outputs, targets):
    return xp.nn.squared_error(outputs, targets)


class OwnError:
    function = staticmethod(own_error)


@pytest.mark.parametrize("loss", [own_error, OwnError()])
def test_function_of_ones_own_is_a_loss(backend, loss):
    data = Dataset(INPUTS, SCORES)
    run, expected = (fit(backend, data, loss=f, test=data, epochs=3) for f in (loss, "squared_error"))
    assert run.report == ""
    # Not rehearsed, because of code of one's own, so the first steps differ in the last digits.
    assert run.history[-1].test_loss == pytest.approx(expected.history[-1].test_loss, rel=1e-5)
    np.testing.assert_allclose(run.predict(data), expected.predict(data), atol=1e-5)
    assert run.evaluate(data).loss == pytest.approx(expected.evaluate(data).loss, rel=1e-5)


def test_wrong_losses_are_refused(numpy_xp):
    with pytest.raises(
        TypeError, match=r"`loss` is the class HuberError; pass an object, as in `HuberError\(\)`"
    ):
        fit(numpy_xp, SCORES, loss=HuberError)
    with pytest.raises(ValueError, match="unknown loss 3: choose one of"):
        fit(numpy_xp, SCORES, loss=3)
    with pytest.raises(TypeError, match="`train` has weights, but the loss 'own_error' takes none"):
        fit(numpy_xp, SCORES, loss=own_error, sample_weight=np.ones(N))


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, SigmoidCrossEntropy])
def test_smoothing_out_of_range_is_refused(kind):
    with pytest.raises(ValueError, match=r"`label_smoothing` must be in \[0, 1\), got 1"):
        kind(label_smoothing=1)


def test_options_of_a_loss_are_saved(numpy_xp, tmp_path):
    run, loaded = copies_of(fit(numpy_xp, CLASSES, loss=SoftmaxCrossEntropy(0.1), epochs=1), tmp_path)
    assert loaded.loss == run.loss == SoftmaxCrossEntropy(0.1)
    data = Dataset(INPUTS, CLASSES)
    assert loaded.evaluate(data) == run.evaluate(data)
