"""Models of images: the shapes between their layers, training, saving and copying."""

import copy
import pickle

import numpy as np
import pytest

import xpnet
from xpnet import (
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    Unflatten,
)

MODEL = Sequential(
    Unflatten(28, 28),
    Conv2d(1, 8, 5, stride=2),
    ReLU(),
    MaxPool2d(),
    Residual(Conv2d(8, 8, 3, padding=((1, 1), (1, 1))), LeakyReLU()),
    Flatten(),
    Linear(7 * 7 * 8, 10),
)


@pytest.fixture(scope="module")
def some(mnist):
    return [
        xpnet.Dataset(part.images[:n], part.labels[:n]) for part, n in zip(mnist, (2000, 500), strict=True)
    ]


def test_network_of_convolutions_learns_and_its_step_is_replayed(backend, some, tmp_path):
    train, test = some
    run = xpnet.fit(
        backend, MODEL, train, optimizer=xpnet.Momentum(0.1), epochs=2, batch_size=64, progress=False
    )
    assert run.evaluate(test).accuracy > 0.8
    if backend.name in {"numpy", "numba"}:
        assert run.report == ""
    run.save(tmp_path / "images.safetensors")
    for loaded in (
        xpnet.load(tmp_path / "images.safetensors", backend),
        xpnet.load(tmp_path / "images.safetensors", backend, model=MODEL),
    ):
        assert loaded.model == MODEL
        np.testing.assert_array_equal(loaded.predict(test.images), run.predict(test.images))


@pytest.mark.parametrize(
    "change", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_model_of_images_equals_its_copies(change):
    assert change(MODEL) == MODEL
    assert hash(change(MODEL)) == hash(MODEL)
    assert repr(change(MODEL)) == repr(MODEL)


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (MODEL, None, (10,)),
        (Sequential(Conv2d(3, 8, 3)), None, (None, None, 8)),
        (Sequential(Conv2d(3, 8, 3, stride=2), MaxPool2d(3, stride=1)), (9, 8, 3), (3, 2, 8)),
        (Sequential(Conv2d(3, 8, 3), GlobalAvgPool2d()), None, (8,)),
        (Sequential(Conv2d(3, 8, 3), Flatten()), None, (None,)),
        (Sequential(Sequential(AvgPool2d()), Residual(ReLU())), (9, 8, 3), (4, 4, 3)),
    ],
)
def test_model_knows_the_shape_of_its_output(model, shape, expected):
    assert model.output_shape(shape) == expected


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            (Unflatten(28, 28), Conv2d(3, 8, 3)),
            r"layer 1: takes images \(height, width, 3\), but is given \(28, 28, 1\)",
        ),
        (
            (Unflatten(4, 6), Conv2d(1, 8, 5, padding="valid")),
            r"layer 1: a window of \(5, 5\) is larger than an image of \(4, 6\)",
        ),
        ((Linear(784, 9), MaxPool2d()), r"layer 1: takes images .*, but is given \(9,\)"),
        (
            (Unflatten(4, 4), Linear(16, 2)),
            r"layer 1 takes 16 features, but layer 0 gives images \(4, 4, 1\); put a `Flatten` between them",
        ),
        ((Unflatten(4, 4), Flatten(), Linear(15, 2)), "layer 2 takes 15 features, but layer 1 gives 16"),
        (
            (Unflatten(4, 4), Residual(MaxPool2d())),
            r"Residual adds its input, \(4, 4, 1\), to .* \(2, 2, 1\)",
        ),
        ((Unflatten(4, 4), Sequential(Conv2d(3, 8, 3))), r"takes images \(height, width, 3\)"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        Sequential(*layers)


def test_residual_of_other_features_is_refused():
    with pytest.raises(ValueError, match=r"Residual adds its input, \(4,\), to what its layers give, \(3,\)"):
        Residual(Linear(4, 3), Tanh())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Conv2d(1, 8, 3), Flatten(), Linear(5408, 10)), "rows of 784 features, .*begin the model with `Unf"),
        ((Unflatten(28, 28), Conv2d(1, 10, 3)), r"gives images \(28, 28, 10\) of \(784,\), but a loss takes"),
    ],
)
def test_training_names_the_layers_between_rows_and_images(numpy_xp, some, layers, message):
    with pytest.raises(ValueError, match=message):
        xpnet.fit(numpy_xp, Sequential(*layers), some[0], optimizer=xpnet.SGD(0.1), epochs=1)
