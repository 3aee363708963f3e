"""``xpnet predict MODEL PICTURE``: digits and images of one's own."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from drawn_digits import digits, drawn
from PIL import Image

import xpnet
from xpnet.cli.app import app

DIGITS = digits()


def run(*args):
    done = CliRunner().invoke(app, [*map(str, args)], standalone_mode=False)
    assert done.exception is None, repr(done.exception)
    return done.output


def error(*args):
    done = CliRunner().invoke(app, [*map(str, args)], standalone_mode=False)
    assert done.exception is not None
    return str(done.exception)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, mnist):
    """Return a folder with a model that knows digits, and pictures of a seven and a three."""
    place = tmp_path_factory.mktemp("own")
    saved(place / "model", mnist[0][:20000], xpnet.mlp(784, 64, 10), xpnet.Momentum(lr=4.0), epochs=3)
    Image.fromarray(drawn(DIGITS[72])).save(place / "seven.png")
    Image.fromarray(drawn(DIGITS[31], 900)).save(place / "three.jpg")
    Image.new("L", (90, 90), 200).save(place / "blank.png")
    return place


def saved(path, dataset, model, optimizer=xpnet.SGD(0.1), epochs=1):  # noqa: B008
    xpnet.fit(xpnet.backend("numpy"), model, dataset, optimizer=optimizer, epochs=epochs).save(path)
    return path


def test_picture_is_printed_with_its_digit_and_the_next_guesses(folder, tmp_path):
    paths = folder / "seven.png", folder / "three.jpg"
    lines = run("predict", folder / "model", *paths, "--json", tmp_path / "json").splitlines()
    assert lines[0].split() == ["file", "predicted", "probability", "next", "guesses"]
    assert [line.split()[1] for line in lines[1:3]] == ["7", "3"]
    found = json.loads((tmp_path / "json").read_text())
    assert [set(record) for record in found] == [{"file", "predicted", "probabilities"}] * 2
    assert [record["file"] for record in found] == [*map(str, paths)]
    assert [record["predicted"] for record in found] == [7, 3]
    assert sum(found[0]["probabilities"]) == pytest.approx(1.0)


def test_picture_that_is_named_twice_has_two_records(folder, tmp_path):
    paths = [folder / name for name in ("seven.png", "three.jpg", "seven.png")]
    output = run("predict", folder / "model", *paths, "--json", tmp_path / "json", "--show")
    assert [record["file"] for record in json.loads((tmp_path / "json").read_text())] == [*map(str, paths)]
    assert output.count("seven.png, step 1 of 6") == 2
    assert [line.split()[1] for line in output.splitlines()[-4:-1]] == ["7", "3", "7"]


def test_steps_are_shown_as_characters_and_drawn(folder, tmp_path):
    output = run("predict", folder / "model", folder / "seven.png", "--show", "--plot", tmp_path / "a.png")
    steps = [line for line in output.splitlines() if ", step " in line]
    assert len(steps) == 6
    assert "step 1 of 6: grey (280 x 280)" in steps[0]
    assert "step 6 of 6: centre of mass in the middle (28 x 28)" in steps[5]
    assert output.isascii()
    assert max(map(len, output.split("step 1")[1].splitlines()[1:29])) == 56
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert output.endswith(f"drew {tmp_path / 'a.png'}\n")


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "floats"])
def test_models_of_images_and_of_floats_take_a_digit(tmp_path, folder, mnist, shape, floats):
    images = mnist[0].images[:100].reshape(-1, *shape)
    images = images / np.float32(255) if floats else images
    model = xpnet.Sequential(xpnet.Flatten(), xpnet.Linear(784, 10))
    path = saved(tmp_path / "model", xpnet.Dataset(images, mnist[0].labels[:100]), model)
    output = run("predict", path, folder / "seven.png", "--show")
    assert "centre of mass in the middle (28 x 28)" in output


@pytest.fixture
def of_colours(tmp_path):
    """Return a model that tells red pictures from blue ones."""
    images = np.zeros((20, 6, 8, 3), np.uint8)
    images[:10, ..., 0] = images[10:, ..., 2] = 200
    dataset = xpnet.Dataset(images, np.arange(20) // 10, classes=("red", "blue"))
    model = xpnet.Sequential(xpnet.Flatten(), xpnet.Linear(144, 2))
    return saved(tmp_path / "colours", dataset, model, xpnet.SGD(0.1), 20)


def test_model_of_other_pictures_takes_the_whole_image(of_colours, tmp_path):
    Image.new("RGB", (300, 100), (210, 10, 0)).save(tmp_path / "r.png")
    output = run("predict", of_colours, tmp_path / "r.png", "--show")
    assert "step 1 of 1: resized to 6 x 8 (6 x 8)" in output
    assert output.splitlines()[-1].split()[1:3] == ["0", "red"]


def test_reading_can_be_chosen(folder, of_colours):
    output = run("predict", folder / "model", folder / "seven.png", "--as", "image", "--show")
    assert "step 1 of 1: resized to 28 x 28" in output
    found = error("predict", of_colours, folder / "seven.png", "--as", "digit")
    assert found == "the model takes pictures with 3 channels, and a digit has one; leave out `--as digit`"


def test_model_of_a_table_refuses_a_picture(folder, tmp_path):
    rows = np.random.default_rng(1).random((30, 4))
    path = saved(tmp_path / "rows", xpnet.Dataset(rows, np.arange(30) % 3), xpnet.mlp(4, 3))
    found = error("predict", path, folder / "seven.png")
    assert found == "the model takes rows of 4 features, not pictures; pass another model"
    (tmp_path / "t.csv").write_text("a,b,kind\n" + "1,2,x\n3,4,y\n" * 10)
    run("train", "--data", tmp_path / "t.csv", "--target", "kind", "--epochs", "1", "--save", path)
    assert error("predict", path, folder / "seven.png").startswith("the model was trained on a table, so it")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--index", "3"), "`--index` is for test images; leave it out, or the pictures"),
        (("--data", "."), "`--data` is for test images; leave it out, or the pictures"),
        (("--dataset", "mnist"), "`--dataset` is for test images; leave it out, or the pictures"),
        (("--max-bytes", "9"), "`--max-bytes` is for test images; leave it out, or the pictures"),
    ],
)
def test_options_of_test_images_are_refused_beside_pictures(folder, options, text):
    assert error("predict", folder / "model", folder / "seven.png", *options) == text


@pytest.mark.parametrize("options", [("--show",), ("--as", "digit"), ("--plot", "x.png")])
def test_options_of_pictures_are_refused_without_one(folder, options):
    text = f"`{options[0]}` is for pictures of your own; name one after the model"
    assert error("predict", folder / "model", *options) == text


@pytest.mark.parametrize("options", [(), ("--as", "image")])
def test_file_that_is_no_picture_is_one_line(folder, tmp_path, options):
    (tmp_path / "a.png").write_text("text")
    texts = {
        tmp_path / "a.png": "a.png': it is damaged or not a picture; pass a whole PNG, JPEG or other picture",
        tmp_path: "': it is a folder; pass another file",
        tmp_path / "none.png": "none.png': No such file or directory; pass another file",
    }
    for path, text in texts.items():
        found = error("predict", folder / "model", path, *options)
        assert text in found
        assert "\n" not in found


def test_picture_without_a_digit_is_named(folder):
    found = error("predict", folder / "model", folder / "seven.png", folder / "blank.png")
    assert "blank.png': no digit is found on the picture; pass one with" in found


def test_damaged_picture_with_a_long_path_is_named_once(folder, tmp_path):
    path = tmp_path / ("a" * 200) / ("b" * 200 + ".png")
    path.parent.mkdir()
    path.write_text("text")
    assert error("predict", folder / "model", path).startswith("cannot read the picture '")
