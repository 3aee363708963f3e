"""Evaluation and prediction: one definition of the predicted class, and of probabilities."""

import numpy as np
import pytest

import xpnet
from xpnet import Dropout, Linear, Sequential, Sigmoid, Softmax, metrics, mlp
from xpnet.losses import LOSSES


def with_biases(xp, model, biases, dtype="float32"):
    """Return parameters that are 0 except for the last layer's biases."""
    *_, last = model.shapes
    return {
        name: xp.asarray(np.asarray(biases if name == last else np.zeros(shape), dtype))
        for name, shape in model.shapes.items()
    }


def labelled(label, n=4):
    return xpnet.Dataset(np.zeros((n, 1), dtype=np.float32), np.full(n, label))


# Outputs and the class that they predict; the first four probabilities tie in float32.
SATURATED = {
    "sigmoids": ("sigmoid_cross_entropy", [20.0, 30.0, 25.0], 1),
    "sigmoids near 0": ("sigmoid_cross_entropy", [-120.0, -110.0, -115.0], 1),
    "softmax": ("softmax_cross_entropy", [-300.0, 0.0, 1e-9], 2),
    "softmax of small differences": ("softmax_cross_entropy", [0.0, 1e-9, 2e-9], 2),
    "ties": ("softmax_cross_entropy", [1.0, 2.0, 2.0], 1),
    "nothing but ties": ("sigmoid_cross_entropy", [0.0, 0.0, 0.0], 0),
    "squared error": ("squared_error", [-3.0, 7.0, 2.0], 1),
    "one sigmoid, barely": ("sigmoid_cross_entropy", [1e-9], 1),
    "one sigmoid at the threshold": ("sigmoid_cross_entropy", [0.0], 0),
    "one sigmoid below": ("sigmoid_cross_entropy", [-1e-9], 0),
    "one sigmoid, certain": ("sigmoid_cross_entropy", [200.0], 1),
    "one number above": ("squared_error", [0.6], 1),
    "one number at the threshold": ("squared_error", [0.5], 0),
    "one number below": ("squared_error", [0.4], 0),
}


@pytest.mark.parametrize("case", SATURATED)
def test_evaluate_and_predict_agree_on_saturated_outputs(xp_int64, case):
    loss, biases, expected = SATURATED[case]
    model = mlp(1, len(biases))
    params = with_biases(xp_int64, model, biases)
    data = labelled(expected)
    evaluation = xpnet.evaluate(xp_int64, model, params, data, loss=loss)
    assert evaluation.accuracy == 1.0
    assert evaluation.confusion[expected, expected] == 4
    predicted = xpnet.predict(xp_int64, model, params, data, loss=loss)
    np.testing.assert_array_equal(predicted, data.labels)
    assert predicted.dtype == np.int64


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (Sequential(Linear(1, 3), Sigmoid()), "sigmoid_cross_entropy"),
        (Sequential(Linear(1, 3), Sigmoid()), "squared_error"),
        (Sequential(Linear(1, 3), Softmax()), "squared_error"),
        (Sequential(Linear(1, 3), Softmax()), "sigmoid_cross_entropy"),
        (Sequential(Linear(1, 3), Sigmoid()), "softmax_cross_entropy"),
    ],
)
def test_evaluate_and_predict_agree_for_any_last_layer(backend, model, loss):
    params = with_biases(backend, model, [20.0, 30.0, 25.0])
    predicted = xpnet.predict(backend, model, params, labelled(0), loss=loss)
    confusion = xpnet.evaluate(backend, model, params, labelled(0), loss=loss).confusion
    assert confusion[0, predicted[0]] == 4


@pytest.mark.parametrize("n", [50, 3700])
@pytest.mark.parametrize("layers", [(Sigmoid(),), (Sigmoid(), Softmax()), (Softmax(), Softmax())])
@pytest.mark.parametrize("loss", LOSSES)
def test_evaluate_and_predict_agree_to_the_last_bit(backend, loss, layers, n):
    rng = np.random.default_rng(0)
    model, data = Sequential(Linear(4, 3), *layers), rng.normal(size=(n, 4)).astype(np.float32)
    params = with_biases(backend, model, np.zeros(3))
    params["0.weight"] = backend.asarray((30 * rng.normal(size=(4, 3))).astype(np.float32))
    predicted = xpnet.predict(backend, model, params, data, loss=loss)
    evaluation = xpnet.evaluate(backend, model, params, xpnet.Dataset(data, predicted), loss=loss)
    assert evaluation.accuracy == 1.0


@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_beyond_the_dtype_are_reported_without_a_warning(xp_int64, loss):
    model, data = mlp(4, 3), xpnet.Dataset(np.full((5, 4), 1e38, dtype=np.float32), [0] * 5)
    params = with_biases(xp_int64, model, np.zeros(3))
    params["0.weight"] = xp_int64.asarray(np.full((4, 3), 1e30, dtype=np.float32))
    assert not np.isfinite(xpnet.evaluate(xp_int64, model, params, data, loss=loss).loss)
    with pytest.raises(ValueError, match="the model's outputs for row 0 are not finite"):
        xpnet.predict(xp_int64, model, params, data, loss=loss)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_history_and_report_count_what_predict_says(backend, dataset, loss, outputs):
    if outputs < LOSSES[loss].least_outputs:
        pytest.skip("the loss needs more outputs")
    data = xpnet.Dataset(dataset.images, np.minimum(dataset.labels, max(1, outputs - 1)))
    model, optimizer = mlp(12, outputs), xpnet.SGD(0.1)
    run = xpnet.fit(backend, model, data, test=data, optimizer=optimizer, epochs=2, loss=loss)
    predicted = run.predict(data)
    evaluation = run.evaluate(data)
    expected = metrics.accuracy(xpnet.backend("numpy"), data.labels, predicted)
    assert run.history[-1].test_accuracy == pytest.approx(expected)
    assert evaluation.accuracy == expected
    classes = max(2, outputs)
    confusion = metrics.confusion_matrix(xpnet.backend("numpy"), data.labels, predicted, classes)
    np.testing.assert_array_equal(evaluation.confusion, confusion)
    assert evaluation.report() == metrics.classification_report(confusion)


@pytest.mark.parametrize(
    "model",
    [
        mlp(1, 3),
        mlp(1, 1),
        Sequential(Linear(1, 3), Sigmoid()),
        Sequential(Linear(1, 1), Softmax()),
        Sequential(Linear(1, 3), Softmax(), Dropout(0.5)),
    ],
)
def test_outputs_are_not_called_probabilities_unless_they_are(numpy_xp, model):
    params = model.init(numpy_xp, 0)
    message = "outputs of a model trained with 'squared_error' are not probabilities; call `predict`"
    with pytest.raises(ValueError, match=message):
        xpnet.predict_proba(numpy_xp, model, params, labelled(0), loss="squared_error")
    assert xpnet.predict(numpy_xp, model, params, labelled(0), loss="squared_error").shape == (4,)


@pytest.mark.parametrize(
    "model",
    [
        Sequential(Linear(1, 3), Softmax()),
        Sequential(Linear(1, 3), Sequential(Linear(3, 2), Softmax())),
        Sequential(Linear(1, 1), Sigmoid()),
    ],
)
def test_outputs_of_a_last_layer_that_makes_probabilities_are_such(xp, model):
    p = xpnet.predict_proba(xp, model, model.init(xp, 0), labelled(0), loss="squared_error")
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-6)


def test_outputs_are_what_the_last_layer_gives(xp):
    images = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    model = Sequential(Linear(2, 3), Softmax())
    params = model.init(xp, 1)
    x = xp.asarray(images.astype(np.float32) * np.float32(0.01) - np.float32(0.5))
    expected, _ = model(xp, params, x)
    found = xpnet.predict_outputs(xp, model, params, images, scale=0.01, offset=-0.5)
    np.testing.assert_allclose(found, xp.to_host(expected), rtol=1e-6)


def test_a_run_gives_its_outputs(numpy_xp, dataset):
    run = xpnet.fit(
        numpy_xp, mlp(12, 3), dataset, optimizer=xpnet.SGD(0.1), epochs=1, loss="squared_error", offset=-0.5
    )
    outputs = run.predict_outputs(dataset)
    assert outputs.shape == (90, 3)
    np.testing.assert_array_equal(outputs.argmax(axis=1), run.predict(dataset))
    with pytest.raises(ValueError, match="are not probabilities"):
        run.predict_proba(dataset)
