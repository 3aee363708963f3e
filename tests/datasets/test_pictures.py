import numpy
import pytest
from PIL import Image

from xpnet.datasets import image_folder


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = numpy.full((4, 6), 100 * label + i, numpy.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_come_in_order_with_names_of_classes(folder):
    data = image_folder(folder)
    assert (data.images.shape, data.classes) == ((6, 4, 6, 1), ("cat", "dog"))
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_pictures_are_made_alike(folder):
    Image.new("RGBA", (6, 4), (255, 0, 0, 0)).save(folder / "dog" / "3.png")
    Image.fromarray(numpy.full((4, 6), 65535, numpy.uint16)).save(folder / "dog" / "4.png")
    data = image_folder(folder, size=(2, 3))
    assert data.images.shape == (8, 2, 3, 3)
    assert (data.images[6:] == 255).all()


def test_damaged_picture_is_named(folder):
    path = folder / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cannot read the picture .*dog/1.png"):
        image_folder(folder)


def test_sizes_that_differ_name_two_files(folder):
    Image.new("L", (5, 5)).save(folder / "dog" / "3.png")
    with pytest.raises(
        ValueError, match=r"cat/0.png' has 4 x 6 pixels, but .*dog/3.png' has 5 x 5; pass `size="
    ):
        image_folder(folder)


def test_folder_with_one_class_or_an_empty_one_is_refused(folder):
    (folder / "owl").mkdir()
    with pytest.raises(ValueError, match="owl' has no picture"):
        image_folder(folder)
    with pytest.raises(ValueError, match="has 0 subfolders; put the pictures"):
        image_folder(folder / "cat")
