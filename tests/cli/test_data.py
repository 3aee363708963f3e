"""Folders of pictures on the command line."""

import json
import sys

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image
from test_cli import run, write_folder

import xpnet
from xpnet.cli.app import app

NAMES = ("cat", "dog", "owl")


def fill(folder, names=NAMES, n=20, size=(14, 12)):
    """Write `n` noisy pictures of each class, bright in rows of their own."""
    rng = numpy.random.Generator(numpy.random.Philox(0))
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 50, size, dtype=numpy.uint8)
            pixels[4 * label : 4 * label + 4] += 180
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


def invoke(*args):
    """Return the outcome of a command, run in this process."""
    return CliRunner().invoke(app, [*map(str, args)], standalone_mode=False)


@pytest.fixture(scope="module", params=["numpy", "numba"])
def trained(request, tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("trained") / "pets")
    model, results = folder.parent / "model", folder.parent / "run.json"
    options = ("--backend", request.param, "--epochs", 12, "--save", model, "--json", results)
    return folder, model, results, run("train", "--data", folder, "--lr", 1, "--batch-size", 16, *options)


def test_train_sizes_the_network_by_the_pictures_and_learns(trained):
    _, _, results, output = trained
    assert "on cpu: 168-64-3 sigmoid" in output
    assert "\n48 training and 12 test images" in output
    found = json.loads(results.read_text())
    assert found["config"]["dataset"] == "images"
    assert found["history"][-1]["test_accuracy"] == 1.0


def test_evaluate_uses_the_pictures_that_training_left_out(trained, tmp_path):
    folder, model, results, _ = trained
    output = run("evaluate", model, "--data", folder, "--json", tmp_path / "json")
    assert [line.split() for line in output.splitlines()[4:7]] == [
        [name, "1.00", "1.00", "1.00", "4"] for name in NAMES
    ]
    found = json.loads((tmp_path / "json").read_text())
    assert found["classes"] == list(NAMES)
    assert found["confusion"] == json.loads(results.read_text())["confusion"]


def test_evaluate_draws_the_confusion_matrix(trained, tmp_path):
    folder, model, *_ = trained
    output = run("evaluate", model, "--data", folder, "--plot", tmp_path / "picture.png")
    assert output.endswith(f"drew {tmp_path / 'picture.png'}\n")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    message = run("evaluate", model, "--data", folder, "--plot", tmp_path / "picture.xyz", status=1)
    assert "its suffix is 'xyz'; choose one of" in message


def test_predict_prints_names_beside_numbers(trained):
    folder, model, *_ = trained
    header, *lines = run("predict", model, "--data", folder, "--index", "0,5,11").splitlines()
    assert header.split() == ["index", "label", "predicted", "probability"]
    assert [line.split()[:5] for line in lines] == [
        [str(row), str(label), NAMES[label], str(label), NAMES[label]] for label, row in enumerate([0, 5, 11])
    ]


def test_all_pictures_of_another_folder_are_used_at_the_models_size(trained, tmp_path):
    other = fill(tmp_path / "others", n=3, size=(28, 24))
    output = run("evaluate", trained[1], "--data", other)
    assert f"but this is '{other}'\n" in output
    assert output.split("accuracy")[-1].split()[1] == "9"


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_folder_with_other_classes_than_the_model_is_refused(trained, tmp_path, command):
    other = fill(tmp_path / "others", ("cat", "dog", "rat"), n=2)
    message = run(command, trained[1], "--data", other, status=1)
    assert "has the class 'rat', which the model does not know: it knows 'cat', 'dog', 'owl'" in message


def test_names_of_a_model_do_not_hide_numbers_beyond_them(tmp_path):
    folder = fill(tmp_path / "pets", size=(28, 28))
    run("train", "--data", folder, "--epochs", 1, "--quiet", "--save", tmp_path / "model")
    output = run("predict", tmp_path / "model", "--dataset", "mnist", "--index", "0")
    assert output.splitlines()[-1].split()[1] == "7"


def test_model_without_names_needs_a_folder_with_as_many_classes(tmp_path, numpy_xp, mnist):
    model = tmp_path / "model"
    xpnet.fit(numpy_xp, xpnet.mlp(784, 10), mnist[0][:50], optimizer=xpnet.SGD(0.1), epochs=1).save(model)
    message = run("evaluate", model, "--data", fill(tmp_path / "pets", size=(28, 28)), status=1)
    assert "the model has 10 classes, but " in message
    assert "has 3: 'cat', 'dog', 'owl'" in message


def test_evaluation_without_names_has_no_classes_in_its_json(tmp_path, numpy_xp, mnist):
    model = tmp_path / "model"
    xpnet.fit(numpy_xp, xpnet.mlp(784, 10), mnist[0][:50], optimizer=xpnet.SGD(0.1), epochs=1).save(model)
    invoke("evaluate", model, "--json", tmp_path / "json")
    assert set(json.loads((tmp_path / "json").read_text())) == {"backend", "loss", "accuracy", "confusion"}


def test_limit_takes_pictures_of_all_classes(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", n=2)
    output = run("train", "--data", tmp_path, "--limit", 24, "--epochs", 12, "--lr", 1, "--batch-size", 8)
    assert "\n24 training and 6 test images" in output
    assert "test accuracy 100.00%;" in output


def test_cnn_takes_pictures_at_the_size_of_the_option(tmp_path):
    output = run("train", "--data", fill(tmp_path), "--model", "cnn", "--size", "16,20", "--epochs", 1)
    assert output.startswith("numpy on cpu: LeNet-5 16x20x1-3 relu, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "images"], "`--dataset images` reads a folder: name it with `--data DIR`"),
        (["--size", "32"], "'32' is no size; pass height and width as in 32,48"),
        (["--size", "32,32"], "`--size` is for folders of pictures; leave it out"),
    ],
)
def test_option_for_pictures_without_a_folder_is_bad_usage(options, message):
    assert message in run("train", *options, status=2)


@pytest.mark.parametrize("options", [(), ("--size", "32,32"), ("--dataset", "images")])
def test_folder_that_does_not_exist_is_named(tmp_path, options):
    message = run("train", "--data", tmp_path / "pets", *options, status=1)
    assert f"'{tmp_path / 'pets'}'" in message


def test_max_bytes_is_not_for_pictures(tmp_path):
    message = run("train", "--data", fill(tmp_path, n=1), "--max-bytes", 5, status=2)
    assert "`--max-bytes` is for IDX files, not for pictures; leave it out" in message


@pytest.mark.parametrize(
    ("names", "found"),
    [((), "is empty"), (("a.png", "b/c.txt"), "has 'a.png', 'b/'"), (map(str, range(10)), "'7' and 2 more")],
)
def test_folder_of_neither_kind_lists_what_it_has(tmp_path, names, found):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    message = run("train", "--data", tmp_path, status=1)
    assert "has neither four IDX files nor a subfolder of pictures for each class: it " in message
    assert f"{found}; pass another folder\n" in message


def test_folder_with_both_kinds_is_read_as_idx_unless_pictures_are_asked_for(tmp_path):
    write_folder(tmp_path, 4)
    fill(tmp_path)
    assert ": 6-64-4 " in run("train", "--data", tmp_path, "--epochs", 1)
    output = run("train", "--data", tmp_path, "--dataset", "images", "--epochs", 1)
    assert ": 168-64-3 " in output


def test_idx_files_of_other_numbers_are_detected(tmp_path):
    for stem in ("train", "t10k"):
        labels = b"\0\0\x0c\x01" + (2).to_bytes(4, "big") + numpy.array([0, 1], ">i4").tobytes()
        images = b"\0\0\x0d\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 2, 3))
        (tmp_path / f"{stem}-labels-idx1-int").write_bytes(labels)
        (tmp_path / f"{stem}-images-idx3-float").write_bytes(images + numpy.ones(12, ">f4").tobytes())
    assert ": 6-64-2 " in run("train", "--data", tmp_path, "--epochs", 1)


def test_bad_pictures_are_one_line(tmp_path):
    folder = fill(tmp_path, n=2)
    path = folder / "cat" / "01.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    assert f"cannot read the picture '{path}': " in run("train", "--data", folder, status=1)
    path.write_bytes(whole)
    (folder / "rat").mkdir()
    assert f"folder '{folder / 'rat'}' has no picture; add some" in run("train", "--data", folder, status=1)


def test_one_class_is_one_line(tmp_path):
    message = run("train", "--data", fill(tmp_path, ("cat",)), status=1)
    assert f"folder '{tmp_path}' has only the subfolder 'cat'; put the pictures of each class" in message


def test_test_part_with_other_classes_is_one_line(tmp_path):
    fill(tmp_path / "train", n=1)
    fill(tmp_path / "test", ("cat", "dog"), n=1)
    assert "have different classes: 'owl' is only in 'train'" in run("train", "--data", tmp_path, status=1)


def test_missing_pillow_says_how_to_install_it(tmp_path, monkeypatch):
    fill(tmp_path, n=1)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image")
    error = invoke("train", "--data", tmp_path).exception
    assert isinstance(error, ImportError)
    assert "install it with `pip install 'xpnet[images]'`" in str(error)


def test_help_describes_folders_of_pictures():
    output = " ".join(run("train", "--help").split())
    assert "--dataset [mnist|idx|images|csv|npz]" in output
    assert "20 % of the pictures of each class are the test images" in output
