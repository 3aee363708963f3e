"""Layers that change images at random in training."""

import numpy as np
import pytest

import xpnet
from xpnet import Dataset, Flatten, Linear, RandomFlip, RandomShift, Sequential

MODEL = Sequential(RandomShift(2), RandomFlip(), Flatten(), Linear(30, 3))


def make_images():
    return np.random.default_rng(0).random((40, 5, 6, 1)).astype("float32") + 1


def test_shift_moves_each_image_by_whole_pixels_within_the_limit(xp):
    images = make_images()
    shifted = xp.to_host(xp.nn.random_shift(xp.asarray(images), 7, 3, most=2))
    moves = set()
    for image, found in zip(images, shifted, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        same = [
            (i, j) for i in range(5) for j in range(5) if np.array_equal(padded[i : i + 5, j : j + 6], found)
        ]
        assert len(same) == 1
        moves.add(same[0])
    assert {i for i, _ in moves} == {j for _, j in moves} == set(range(5))


def test_flip_mirrors_about_half_of_the_images(xp):
    images = make_images()
    flipped = xp.to_host(xp.nn.random_flip(xp.asarray(images), 7, 3))
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(images, flipped, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 30


def test_parts_of_a_batch_are_changed_as_the_whole_is(xp):
    nn, images = xp.nn, make_images()
    for function, options in (
        (nn.random_shift, {"most": 2}),
        (nn.random_shift_backward, {"most": 2}),
        (nn.random_flip, {}),
        (nn.random_flip_backward, {}),
    ):
        whole = xp.to_host(function(xp.asarray(images), 7, 3, **options))
        part = xp.to_host(function(xp.asarray(images[13:29]), 7, 3, **options, first=13))
        np.testing.assert_array_equal(part, whole[13:29])


def test_images_change_with_the_step_and_not_in_use(numpy_xp):
    x = numpy_xp.asarray(make_images())
    layers = Sequential(RandomShift(2), RandomFlip())
    first, second = (layers(numpy_xp, {}, x, stream=xpnet.Stream(0, "dropout").at(i))[0] for i in (1, 2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layers(numpy_xp, {}, x)[0], x)


def test_model_that_changes_images_is_trained_and_saved(backend, tmp_path):
    data = Dataset(make_images(), np.arange(40) % 3)
    run = xpnet.fit(backend, MODEL, data, optimizer=xpnet.SGD(0.1), epochs=3, batch_size=10, progress=False)
    assert run.report == ""
    run.save(tmp_path / "model.safetensors")
    assert xpnet.load(tmp_path / "model.safetensors", backend).model == MODEL


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("most", [1, 4, 70_000])
def test_compiled_steps_change_images_as_the_twins_do_bit_for_bit(backend, most, dtype):
    images, key = make_images().astype(dtype), 2**64 - 3

    def change(xp, x, step):
        shifted, flipped = xp.nn.random_shift(x, key, step, most=most), xp.nn.random_flip(x, key, step)
        back = xp.nn.random_shift_backward(x, key, step, most=most, first=2**31 + 5)
        return shifted, back, flipped, xp.nn.random_flip_backward(x, key, step, first=2**17 + 1)

    compiled = backend.compile(change)
    plain = xpnet.Namespace("plain", np)
    for step in (2**17, 2**17 + 1, 2**17 + 2):
        found = compiled(backend, backend.asarray(images), step)
        for one, other in zip(found, change(plain, images, step), strict=True):
            assert backend.to_host(one).tobytes() == other.tobytes()
    assert compiled.report == ""


def test_limit_must_be_a_whole_number():
    with pytest.raises(ValueError, match="`most` must be a whole number above 0, got 0"):
        RandomShift(0)
