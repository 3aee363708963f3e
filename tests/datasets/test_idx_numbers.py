"""Folders of IDX files whose images are not rows and columns of unsigned bytes."""

import struct

import numpy as np
import pytest

import xpnet
from xpnet import datasets

CODES = {"u1": (0x08, "ubyte"), "i2": (0x0B, "short"), "i4": (0x0C, "int"), "f4": (0x0D, "float")}


def write(folder, stem, images, labels):
    for part, array in (("images", images), ("labels", labels)):
        code, suffix = CODES[array.dtype.str[1:]]
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
        content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
        (folder / f"{stem}-{part}-idx{array.ndim}-{suffix}").write_bytes(content)


def folder_of(folder, images, labels):
    write(folder, "train", images, labels)
    write(folder, "t10k", images[:2], labels[:2])
    return datasets.idx_folder(folder)


LABELS = np.array([0, 1, 2, 1], np.uint8)


def test_images_with_channels_keep_their_shape(tmp_path):
    images = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3).astype(np.uint8)
    train, test = folder_of(tmp_path, images, LABELS)
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(test.images, images[:2])


def test_pixels_of_16_bits_become_floats_of_at_most_1(tmp_path):
    images = np.array([0, 1, 32767, -32767], np.int16).reshape(4, 1, 1)
    train, _ = folder_of(tmp_path, images, LABELS)
    assert train.images.dtype == np.float32
    np.testing.assert_allclose(train.images.ravel(), [0, 1 / 32767, 1, -1], rtol=1e-7)


def test_floats_stay_as_they_are_and_rows_are_rows(tmp_path):
    images = np.linspace(-2, 2, 12, dtype=np.float32).reshape(4, 3)
    train, _ = folder_of(tmp_path, images, LABELS.astype(np.int32))
    np.testing.assert_array_equal(train.images, images)
    assert train.labels.tolist() == LABELS.tolist()


def test_model_is_trained_on_images_with_channels_of_16_bits(tmp_path, numpy_xp):
    images = np.random.default_rng(0).integers(0, 32767, (4, 6, 5, 2)).astype(np.int16)
    train, test = folder_of(tmp_path, images, LABELS)
    model = xpnet.Sequential(xpnet.Conv2d(2, 3, 3), xpnet.ReLU(), xpnet.Flatten(), xpnet.Linear(90, 3))
    run = xpnet.fit(numpy_xp, model, train, test=test, optimizer=xpnet.Adam(), epochs=2)
    assert run.predict(test).shape == (2,)


def test_images_of_other_shapes_in_the_test_files_are_refused(tmp_path):
    write(tmp_path, "train", np.zeros((4, 2, 6, 1), np.uint8), LABELS)
    write(tmp_path, "t10k", np.zeros((4, 3, 4, 1), np.uint8), LABELS)
    with pytest.raises(ValueError, match=r"have the shape \(2, 6, 1\), those of .* \(3, 4, 1\)"):
        datasets.idx_folder(tmp_path)
