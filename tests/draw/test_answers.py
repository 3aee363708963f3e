"""What the page shows of models of different kinds, without a server."""

import base64

import numpy as np
import pytest

import xpnet
from xpnet import (
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from xpnet.draw import Answers
from xpnet.draw.answers import SIDE


def drawing():
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[40:180, 100:116] = 255
    image[40:180, [99, 116]] = 100
    return image


def trained(xp, model, images, targets, **options):
    data = xpnet.Dataset(images, targets)
    return xpnet.fit(xp, model, data, epochs=1, optimizer=xpnet.SGD(0.1), progress=False, **options)


@pytest.fixture
def pixels():
    return np.random.Generator(np.random.Philox(5)).integers(0, 256, (20, 28, 28)).astype(np.uint8)


@pytest.fixture
def labels():
    return np.arange(20) % 2


def test_answer_is_what_the_run_predicts(backend, pixels, labels):
    run = trained(backend, xpnet.mlp(784, 5, 2), pixels, labels)
    answers = Answers(run, "model")
    found = answers.answer(drawing())
    image = xpnet.handwriting.prepared(np.pad(drawing(), SIDE // 8))[None]
    np.testing.assert_allclose(found["figures"], run.predict_proba(image)[0], atol=1e-6)
    assert found["predicted"] == run.predict(image)[0]
    pixels = base64.b64decode(found["steps"][-1]["pixels"])
    np.testing.assert_array_equal(np.frombuffer(pixels, np.uint8).reshape(28, 28), image[0])
    hidden = run.activations(image)["1"][0]
    shown = np.frombuffer(base64.b64decode(found["layers"][0]["values"]), np.int8)
    np.testing.assert_allclose(shown / 127, hidden / np.abs(hidden).max(), atol=0.005)


def test_drawing_is_given_to_the_model_once_for_figures_and_once_for_layers(numpy_xp, pixels):
    calls = []

    class Counting(Tanh):
        def __call__(self, xp, params, x, **options):
            calls.append(len(x))
            return super().__call__(xp, params, x, **options)

    run = trained(numpy_xp, Sequential(Linear(784, 4), Counting(), Linear(4, 3)), pixels, np.arange(20) % 3)
    answers = Answers(run, "model")
    calls.clear()
    found = answers.answer(drawing())
    assert calls == [1, 1]
    assert found["predicted"] == np.argmax(found["figures"])


def test_class_is_right_where_probabilities_round_to_the_same_number(numpy_xp, pixels):
    loss = "sigmoid_cross_entropy"
    run = trained(numpy_xp, xpnet.mlp(784, 3), pixels, np.arange(20) % 3, loss=loss)
    run.params["0.bias"] = numpy_xp.asarray(np.array([-500, 500, 600], np.float32))
    found = Answers(run, "model").answer(drawing())
    assert found["figures"] == [0, 1, 1]
    assert found["predicted"] == 2


def test_model_trained_on_floats_gets_floats_of_their_range(numpy_xp, pixels, labels):
    run = trained(numpy_xp, xpnet.mlp(784, 2), (pixels / 127.5 - 1).astype(np.float32), labels)
    image = xpnet.handwriting.prepared(np.pad(drawing(), SIDE // 8))[None]
    expected = run.predict_proba((image / 127.5 - 1).astype(np.float32))[0]
    np.testing.assert_allclose(Answers(run, "model").answer(drawing())["figures"], expected, atol=1e-5)


def test_layers_are_shown_behind_their_activation(numpy_xp, pixels, labels):
    model = Sequential(
        Conv2d(1, 3, 3),
        BatchNorm(3),
        ReLU(),
        xpnet.MaxPool2d(2),
        Residual(Conv2d(3, 3, 3), Tanh()),
        GlobalAvgPool2d(),
        Sequential(Linear(3, 70), Dropout(0.5)),
        Linear(70, 2),
        xpnet.Softmax(),
    )
    about = Answers(trained(numpy_xp, model, pixels, labels), "model").about["layers"]
    assert [(layer["kind"], layer["count"]) for layer in about] == [("maps", 3), ("maps", 3), ("units", 70)]
    assert about[0]["made_by"] == "Conv2d(1, 3, (3, 3)), BatchNorm(3), ReLU()"
    assert [(layer["height"], layer["width"]) for layer in about[:2]] == [(28, 28), (14, 14)]
    assert "kernels" in about[0]
    assert "kernels" not in about[1]


def test_model_without_hidden_layers_shows_none(numpy_xp, pixels, labels):
    answers = Answers(trained(numpy_xp, xpnet.mlp(784, 2), pixels, labels), "model")
    assert answers.about["layers"] == answers.answer(drawing())["layers"] == []


def test_wide_layers_are_cut(numpy_xp, pixels, labels):
    model = Sequential(
        Conv2d(1, 80, 3, stride=9), ReLU(), Flatten(), Linear(1280, 600), Tanh(), Linear(600, 2)
    )
    answers = Answers(trained(numpy_xp, model, pixels, labels), "model")
    assert [(layer["count"], layer["shown"]) for layer in answers.about["layers"]] == [(80, 64), (600, 512)]
    sizes = [len(base64.b64decode(layer["values"])) for layer in answers.answer(drawing())["layers"]]
    assert sizes == [64 * 16, 512]


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "squared_error"])
def test_single_output_is_shown_as_two_classes(numpy_xp, pixels, labels, loss):
    run = trained(numpy_xp, xpnet.mlp(784, 1), pixels, labels, loss=loss)
    answers = Answers(run, "model")
    found = answers.answer(drawing())
    assert answers.about["classes"] == ["0", "1"]
    assert answers.about["figure"] == ("output" if loss == "squared_error" else "probability")
    assert sum(found["figures"]) == pytest.approx(1, abs=1e-5)
    assert found["predicted"] == np.argmax(found["figures"])


def test_names_of_classes_are_those_of_the_model(numpy_xp, pixels):
    names = np.array(["even", "odd"])[np.arange(20) % 2]
    run = trained(numpy_xp, xpnet.mlp(784, 2), pixels, names)
    answers = Answers(run, "model")
    assert answers.about["classes"] == ["even", "odd"]
    assert answers.about["classes"][answers.answer(drawing())["predicted"]] in ("even", "odd")
