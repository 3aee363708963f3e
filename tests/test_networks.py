"""The ready-made networks of images."""

import numpy as np
import pytest

import xpnet
from xpnet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Tanh, Unflatten


def test_lenet5_has_the_layers_of_the_paper():
    assert xpnet.lenet5() == Sequential(
        Unflatten(28, 28, 1),
        Conv2d(1, 6, 5, padding="same"),
        ReLU(),
        MaxPool2d(2),
        Conv2d(6, 16, 5, padding="valid"),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(400, 120, "he_normal"),
        ReLU(),
        Linear(120, 84, "he_normal"),
        ReLU(),
        Linear(84, 10, "he_normal"),
    )


def test_lenet5_has_so_many_parameters():
    assert sum(int(np.prod(shape)) for shape in xpnet.lenet5().shapes.values()) == 61706


def test_activation_of_lenet5_brings_its_initial_weights():
    layers = xpnet.lenet5(3, activation="tanh").layers
    assert [layer for layer in layers if isinstance(layer, Tanh)] == [Tanh()] * 4
    kinds = {layer.initializer for layer in layers if isinstance(layer, Conv2d | Linear)}
    assert kinds == {"lecun_normal"}


@pytest.mark.parametrize("shape", [(12, 12, 1), (13, 40, 3), (29, 31, 2)])
def test_lenet5_takes_images_of_other_shapes(xp, shape):
    model = xpnet.lenet5(7, shape=shape)
    assert (model.n_in, model.n_out) == (shape[0] * shape[1] * shape[2], 7)
    logits, _ = model(xp, model.init(xp, 0), xp.ones((2, model.n_in), dtype=xp.float32))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 28, 1)}, r"takes images of at least 12 x 12 pixels, got 8 x 28; pass larger images"),
        ({"shape": (28, 11, 1)}, r"at least 12 x 12 pixels, got 28 x 11"),
        ({"shape": (28, 28)}, r"`shape` must be \(height, width, channels\), got \(28, 28\)"),
        ({"shape": (28, 28, 0)}, "`channels` must be a whole number above 0, got 0"),
        ({"shape": "28x28"}, "`shape` must be whole numbers, none negative, got '28x28'"),
        ({"n_classes": 0}, "`n_classes` must be a whole number above 0, got 0"),
        ({"activation": "swish"}, "unknown activation 'swish': choose one of "),
    ],
)
def test_lenet5_refuses(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        xpnet.lenet5(**options)
    assert "\n" not in str(caught.value)
