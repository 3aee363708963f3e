"""Small numbers that underflow to 0 while NumPy is set to raise for everything."""

import numpy as np
import pytest
from checking import optimizers, results_of

import xpnet
from xpnet import Dropout, Linear, Momentum, Sequential, Softmax, metrics, mlp, nn
from xpnet.drawing import drawn, passed, placed
from xpnet.layers import ACTIVATIONS
from xpnet.losses import LOSSES

# exp() of the differences, their products and quotients are denormal or 0 in either dtype.
LOGITS = np.array([[-100.0, 0.0, 95.0], [400.0, -340.0, -700.0], [0.0, 745.0, 20.0], [1e4, 0.0, -1e4]])
LABELS = np.array([0, 2, 1, 2], dtype=np.int32)


@pytest.fixture(autouse=True)
def raising():
    """Make NumPy raise for everything; the tests' settings turn warnings into errors."""
    with np.errstate(all="raise"):
        yield


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", nn.__all__)
def test_functions_underflow_in_silence(backend, name, dtype):
    function = nn.FUNCTIONS[name]
    for seed in range(6):
        arguments = drawn(function, seed=seed, dtype=dtype, stored=dtype, extreme=True)
        args, kwargs = passed(function, placed(backend, function, arguments))
        for x in results_of(getattr(backend.nn, name)(*args, **kwargs)):
            assert np.isfinite(backend.to_host(x)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_compiled_steps_underflow_in_silence(backend, loss, activation, dtype):
    """Run each step many times, so that it is recorded, tried and replayed."""
    xp, function = backend, LOSSES[loss].function

    def step(xp, weight, velocity, total, x, labels):
        hidden = getattr(xp.nn, activation)(xp.nn.linear(x, weight, bias))
        value, d = function(xp, hidden, labels)
        d = getattr(xp.nn, f"{activation}_backward")(hidden, d)
        _, d_weight, _ = xp.nn.linear_backward(x, weight, d, input_gradient=False)
        weight, velocity = xp.nn.momentum_step(weight, velocity, d_weight, 1e-20, 0.9)
        return weight, velocity, xp.nn.accumulate(total, value, 1e-3)

    with np.errstate(under="ignore"):
        x, bias = LOGITS.astype(dtype), np.array([-50.0, 40.0, 0.0]).astype(dtype)
        weight = np.array([[1.0, 0.1, 1e-3], [0.2, 1.0, 1e-5], [1e-6, 0.1, 1.0]]).astype(dtype)
    bias = xp.asarray(bias)
    compiled = xp.compile(step)
    given = xp.asarray(x), xp.asarray(LABELS)
    start = xp.asarray(weight), xp.asarray(np.zeros_like(weight)), xp.zeros((), dtype=getattr(xp, dtype))
    carry = xp.fold(compiled, start, [given] * 5)
    for _ in range(3):
        carry = compiled(xp, *carry, *given)
    assert all(np.isfinite(xp.to_host(x)).all() for x in carry)


def confident(outputs, activation="sigmoid"):
    """Return a model whose outputs are far apart from the first step on."""
    return mlp(12, 16, outputs, activation=activation, initializer="normal")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", optimizers(30.0, times=500), ids=str)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_confident_model_is_trained_and_used_in_silence(backend, dataset, loss, optimizer, dtype):
    options = {"optimizer": optimizer, "epochs": 8, "batch_size": 32, "dtype": dtype, "loss": loss}
    run = xpnet.fit(backend, confident(3), dataset, test=dataset, **options)
    evaluation = run.evaluate(dataset)
    assert run.history[-1].test_accuracy == pytest.approx(evaluation.accuracy)
    assert run.predict_proba(dataset).shape == run.predict_outputs(dataset).shape == (90, 3)
    assert (run.predict(dataset) == dataset.labels).mean() == pytest.approx(evaluation.accuracy)
    assert "weighted avg" in evaluation.report()


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (confident(1, "tanh"), "sigmoid_cross_entropy"),
        (confident(1, "relu"), "squared_error"),
        (
            Sequential(Linear(12, 16, "normal"), xpnet.ReLU(), Dropout(0.5), Linear(16, 3), Softmax()),
            "squared_error",
        ),
        (Sequential(Linear(12, 3, "normal"), Softmax(), Linear(3, 3)), "softmax_cross_entropy"),
    ],
)
def test_other_models_are_trained_and_used_in_silence(backend, dataset, model, loss):
    data = xpnet.Dataset(dataset.images, np.minimum(dataset.labels, max(1, model.n_out - 1)))
    run = xpnet.fit(backend, model, data, test=data, optimizer=Momentum(0.3), epochs=4, loss=loss)
    assert run.evaluate(data).confusion.sum() == 90
    assert run.predict(data).shape == (90,)


def test_checker_is_trained_and_used_in_silence(xp_int64, dataset):
    run = xpnet.fit(xp_int64, confident(3), dataset[:20], test=dataset, optimizer=Momentum(30.0), epochs=3)
    assert run.evaluate(dataset).confusion.sum() == 90
    assert run.predict_proba(dataset).shape == (90, 3)


def test_images_of_tiny_numbers_are_taken_in_silence(backend):
    images = np.full((4, 12), 1e-50)
    data = xpnet.Dataset(images, LABELS)
    run = xpnet.fit(backend, mlp(12, 3), data, test=data, optimizer=Momentum(1.0), epochs=1)
    assert run.predict(images).shape == (4,)


def test_metrics_are_silent(numpy_xp):
    labels, predicted = np.array([0, 1, 1]), np.array([0, 0, 0])
    confusion = metrics.confusion_matrix(numpy_xp, labels, predicted, 4)
    assert metrics.accuracy(numpy_xp, labels, predicted) == pytest.approx(1 / 3)
    assert "macro avg" in metrics.classification_report(confusion)
    assert "macro avg" in metrics.classification_report(np.zeros((3, 3), dtype=int))


def test_overflow_still_raises_if_numpy_was_told_to(numpy_xp):
    with pytest.raises(FloatingPointError, match="overflow"):
        numpy_xp.nn.squared_error(np.array([[1e30]], np.float32), np.zeros((1, 1), np.float32))
    assert np.geterr()["under"] == "raise"
