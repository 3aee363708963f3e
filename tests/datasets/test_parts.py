"""A folder of pictures that may have a training part and a test part."""

import pytest
from PIL import Image

from xpnet.datasets import image_parts


def fill(folder, names=("cat", "dog"), n=3, size=(6, 4), mode="L"):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            color = 10 * label + i
            Image.new(mode, size, color if mode == "L" else (color, 0, 0)).save(folder / name / f"{i}.png")
    return folder


def test_folder_of_classes_has_no_test_set(tmp_path):
    train, test = image_parts(fill(tmp_path))
    assert (len(train), train.classes, test) == (6, ("cat", "dog"), None)


def test_folder_with_both_parts_names_both_sets_after_itself(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", n=2)
    train, test = image_parts(tmp_path)
    assert (len(train), len(test)) == (6, 4)
    assert train.name == test.name == str(tmp_path.resolve())
    assert test.classes == ("cat", "dog")


def test_training_part_alone_is_read(tmp_path):
    fill(tmp_path / "train")
    train, test = image_parts(tmp_path)
    assert (len(train), train.name, test) == (6, str(tmp_path.resolve()), None)


def test_train_can_be_the_name_of_a_class(tmp_path):
    train, test = image_parts(fill(tmp_path, ("car", "train")))
    assert (train.classes, test) == (("car", "train"), None)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_training_set_decides_the_channels_of_both(tmp_path, mode, channels):
    fill(tmp_path / "train", mode=mode)
    fill(tmp_path / "test", mode="RGB" if mode == "L" else "L")
    train, test = image_parts(tmp_path)
    assert train.images.shape[1:] == test.images.shape[1:] == (4, 6, channels)


def test_size_is_that_of_both(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", size=(9, 9))
    train, test = image_parts(tmp_path, size=(2, 3), channels=3)
    assert train.images.shape == test.images.shape == (6, 2, 3, 3)


@pytest.mark.parametrize(
    ("names", "lone"),
    [(("cat", "dog", "owl"), "'owl' is only in 'test'"), (("cat", "emu"), "'dog' is only in 'train'")],
)
def test_parts_with_different_classes_are_refused(tmp_path, names, lone):
    fill(tmp_path / "train")
    fill(tmp_path / "test", names)
    with pytest.raises(ValueError, match=f"have different classes: {lone}; give both the same subfolders"):
        image_parts(tmp_path)


def test_parts_of_different_sizes_are_refused(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", size=(5, 5))
    with pytest.raises(ValueError, match="4 x 6 pixels in 'train', but 5 x 5 in 'test'; pass `size="):
        image_parts(tmp_path)


def test_another_folder_than_test_beside_train_is_named(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "val{}")
    with pytest.raises(ValueError, match=r"has 'train', but no 'test': it has 'val\{\}'; rename or remove"):
        image_parts(tmp_path)
