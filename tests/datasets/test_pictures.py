import sys

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


def test_folder_with_exactly_one_class_names_it(folder):
    (folder / "dog").rename(folder / ".dog")
    with pytest.raises(ValueError, match="has only the subfolder 'cat'; put the pictures of each class"):
        image_folder(folder)


def test_picture_is_turned_as_its_exif_says(folder):
    pixels = numpy.zeros((6, 4), numpy.uint8)
    pixels[:, 0] = 200  # The left column is the top row once the picture is turned to the right.
    exif = Image.Exif()
    exif[0x0112] = 6  # The orientation: turn by 90 degrees clockwise.
    Image.fromarray(pixels).save(folder / "dog" / "3.png", exif=exif)
    turned = image_folder(folder).images[6, :, :, 0]
    assert turned.tolist() == [[200] * 6, *[[0] * 6] * 3]


def test_palette_becomes_its_colours(folder):
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(folder / "dog" / "3.png")
    data = image_folder(folder)
    assert data.images.shape == (7, 4, 6, 3)
    assert (data.images[6] == [10, 20, 30]).all()


def test_transparent_colour_of_a_palette_is_white(folder):
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(folder / "dog" / "3.png", transparency=1)
    assert (image_folder(folder).images[6] == 255).all()


def test_jpeg_is_read_in_colour_and_in_grey(folder):
    Image.new("RGB", (6, 4), (200, 100, 50)).save(folder / "dog" / "3.JPG", quality=95)
    color, grey = image_folder(folder).images[6], image_folder(folder, channels=1).images[6]
    assert abs(color.astype(int) - [200, 100, 50]).max() <= 3
    # Pillow's grey is the luma of ITU-R BT.601.
    assert abs(grey.astype(int) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)).max() <= 3


@pytest.mark.parametrize("pixels", [20, 10], ids=["a warning of Pillow", "an error of Pillow"])
def test_decompression_bomb_is_refused_with_its_path(folder, monkeypatch, pixels):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)  # Twice as many are an error, not a warning.
    with pytest.raises(ValueError, match=r"cannot read the picture .*cat/0.png.*decompression bomb"):
        image_folder(folder)


def test_missing_pillow_says_how_to_install_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image")
    with pytest.raises(ImportError, match=r"pictures need Pillow: .*`pip install 'xpnet\[images\]'`"):
        image_folder(folder)


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, 4, 1)])
def test_size_that_is_none_is_refused(folder, size):
    with pytest.raises(ValueError, match=r"`size` must be \(height, width\), both above 0, got "):
        image_folder(folder, size=size)
