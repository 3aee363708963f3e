"""``xpnet train --model``."""

import gzip
import json

import numpy as np
import pytest
from test_cli import run

import xpnet
from xpnet.cli.networks import network


@pytest.fixture(scope="module", params=["numpy", "numba"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    output = run(
        *("train", "--model", "cnn", "--backend", request.param, "--limit", 3000, "--epochs", 2),
        *("--save", folder / "model", "--json", folder / "run.json", "--plot", folder / "plot.png"),
    )
    return request.param, folder, output


def test_cnn_says_what_it_trains_and_learns(trained):
    name, folder, output = trained
    assert output.startswith(f"{name} on cpu: LeNet-5 28x28x1-10 relu, Momentum(lr=0.5, beta=0.9)\n")
    assert json.loads((folder / "run.json").read_text())["history"][-1]["test_accuracy"] > 0.85
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_results_of_a_cnn_name_the_model_and_no_hidden_layers(trained):
    config = json.loads((trained[1] / "run.json").read_text())["config"]
    assert (config["model"], config["activation"]) == ("cnn", "relu")
    assert "hidden" not in config


def test_saved_cnn_is_evaluated_and_predicts(trained):
    _, folder, output = trained
    accuracy = output.split("test accuracy ")[-1].split(";")[0]
    assert f"test accuracy {accuracy}\n" in run("evaluate", folder / "model")
    assert len(run("predict", folder / "model", "--index", "0:3").splitlines()) == 4
    assert xpnet.load(folder / "model", xpnet.backend("numpy")).model == xpnet.lenet5()


def write_idx(folder, height, width):
    rng = np.random.Generator(np.random.Philox(0))
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (12, height, width))
    labels = b"\0\0\x08\x01" + (12).to_bytes(4, "big") + bytes([0, 1, 2] * 4)
    for stem in ("train", "t10k"):
        images = header + rng.integers(0, 256, 12 * height * width, dtype=np.uint8).tobytes()
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def test_cnn_trains_on_a_folder(tmp_path):
    write_idx(tmp_path, 16, 16)
    output = run("train", "--model", "cnn", "--data", tmp_path, "--epochs", 1)
    assert output.startswith("numpy on cpu: LeNet-5 16x16x1-3 relu, ")


def test_cnn_refuses_small_images(tmp_path):
    write_idx(tmp_path, 8, 8)
    message = run("train", "--model", "cnn", "--data", tmp_path, status=1)
    assert "LeNet-5 takes images of at least 12 x 12 pixels, got 8 x 8" in message


def test_cnn_of_sigmoid_units_has_the_learning_rate_of_a_deep_network():
    output = run("train", "--model", "cnn", "--activation", "sigmoid", "--limit", 100, "--epochs", 1)
    assert "sigmoid, Momentum(lr=0.5, beta=0.9)" in output


@pytest.mark.parametrize("hidden", ["64", "none"])
def test_cnn_refuses_widths_of_hidden_layers(hidden):
    message = run("train", "--model", "cnn", "--hidden", hidden, status=2)
    assert message == "xpnet: `--hidden` is for mlp, not for cnn; leave it out\n"


def test_unknown_model_names_the_choices():
    assert "'rnn' is not one of 'mlp', 'cnn'" in run("train", "--model", "rnn", status=2)


def test_help_says_which_models_there_are():
    output = " ".join(run("train", "--help").split())
    assert "--model [mlp|cnn]" in output
    assert "[default: relu for cnn, else sigmoid]" in output


@pytest.mark.parametrize(
    ("images", "shape"), [((2, 784), (28, 28, 1)), ((2, 16, 20), (16, 20, 1)), ((2, 16, 20, 3), (16, 20, 3))]
)
def test_cnn_has_the_shape_of_the_images(images, shape):
    model, _ = network(np.zeros(images, dtype=np.uint8), 3, {"model": "cnn", "activation": "tanh"})
    assert model == xpnet.lenet5(3, shape=shape, activation="tanh")


def test_cnn_refuses_rows_that_are_no_square():
    with pytest.raises(ValueError, match="but these have 785 features; train an mlp"):
        network(np.zeros((2, 785), dtype=np.uint8), 3, {"model": "cnn", "activation": "relu"})
