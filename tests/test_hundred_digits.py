"""A hundred digits that were drawn for the tests are recognised by models that are trained on MNIST."""

import collections
import io

import numpy as np
import pytest
from drawn_digits import digits, drawn, photographed
from PIL import Image

import xpnet
from xpnet import handwriting

DIGITS = digits()
LABELS = np.array([digit["digit"] for digit in DIGITS])


@pytest.fixture(scope="module")
def run(mnist):
    """Return the network of `xpnet train` after two epochs."""
    return xpnet.fit(
        xpnet.backend("numba"),
        xpnet.mlp(784, 64, 10),
        mnist[0],
        optimizer=xpnet.Momentum(lr=4.0),
        epochs=2,
        batch_size=128,
    )


def accuracy(run, picture_of):
    images = [handwriting.prepared(picture_of(digit)) for digit in DIGITS]
    return float((run.predict(np.stack(images)) == LABELS).mean())


def test_the_strokes_are_ten_of_each_digit_on_the_canvas():
    assert set(collections.Counter(LABELS.tolist()).items()) == {(digit, 10) for digit in range(10)}
    points = np.concatenate([stroke for digit in DIGITS for stroke in digit["strokes"]])
    assert points.min() > 0
    assert points.max() < 1


@pytest.mark.parametrize("side", [28, 64, 280])
def test_ninety_of_a_hundred_are_recognised_on_a_canvas_of_any_size(run, side):
    assert accuracy(run, lambda digit: drawn(digit, side)) >= 0.9


def test_ninety_are_recognised_white_on_black(run):
    assert accuracy(run, lambda digit: drawn(digit, ink=255, paper=0)) >= 0.9


def test_lines_of_any_width_are_recognised(run):
    assert accuracy(run, lambda digit: drawn(digit, 400, width=4)) >= 0.9
    assert accuracy(run, lambda digit: drawn(digit, 400, width=32)) >= 0.9


def test_most_lines_of_one_pixel_are_recognised(run):
    assert accuracy(run, lambda digit: drawn(digit, 400, width=1)) >= 0.85


def test_ninety_are_recognised_in_noisy_photographs_of_dark_and_bright_ink(run):
    rng = np.random.default_rng(7)
    found = [photographed(drawn(digit, 160, ink=255, paper=0) / 255, rng) for digit in DIGITS]
    pictures = iter(found[::2] + [1 - picture for picture in found[1::2]])
    order = [*DIGITS[::2], *DIGITS[1::2]]
    images = np.stack([handwriting.prepared(picture) for picture in pictures])
    labels = np.array([digit["digit"] for digit in order])
    assert (run.predict(images) == labels).mean() >= 0.9


def test_artefacts_of_jpeg_do_no_harm(run):
    def compressed(digit):
        file = io.BytesIO()
        Image.fromarray(drawn(digit)).save(file, "JPEG", quality=10)
        return np.asarray(Image.open(file))

    assert accuracy(run, compressed) >= 0.9


def test_digits_of_mnist_are_recognised_as_well_after_being_prepared_again(run, mnist):
    test = mnist[1][:500]
    again = np.stack([handwriting.prepared(255 - image) for image in test.images.reshape(-1, 28, 28)])
    right = [(run.predict(images) == test.labels).mean() for images in (test.images, again)]
    assert right[1] >= right[0] - 0.01
