"""The commands that use a saved model, on models of each loss."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import xpnet
from xpnet.cli.app import app


def run(*args):
    done = CliRunner().invoke(app, [*map(str, args)], standalone_mode=False)
    assert done.exception is None, done.output
    return done.output


@pytest.fixture
def save(tmp_path, numpy_xp, mnist):
    """Return a function that saves a model for MNIST with these biases, and returns its path."""

    def saved(loss, biases, *layers):
        model = xpnet.Sequential(xpnet.Linear(784, len(biases)), *layers)
        params = {
            "0.weight": numpy_xp.zeros((784, len(biases)), dtype=numpy_xp.float32),
            "0.bias": numpy_xp.asarray(biases, dtype=numpy_xp.float32),
        }
        run = xpnet.fit(
            numpy_xp,
            model,
            mnist[0][:100] if len(biases) > 1 else binary(mnist[0][:100]),
            optimizer=xpnet.SGD(1e-30),
            epochs=1,
            loss=loss,
            params=params,
        )
        run.save(tmp_path / "model")
        return tmp_path / "model"

    return saved


def binary(dataset):
    return xpnet.Dataset(dataset.images, (dataset.labels == 0).astype(np.uint8))


SATURATED = [20.0, 30.0, 25.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0]


def test_predict_agrees_with_evaluate_on_saturated_outputs(save, tmp_path):
    path, out = save("sigmoid_cross_entropy", SATURATED), tmp_path / "json"
    assert "test accuracy 11.35%" in run("evaluate", path)  # the fraction of ones
    lines = run("predict", path, "--index", "2,0", "--json", out).splitlines()
    assert lines[1].split() == ["2", "1", "1", "100.00%"]
    assert lines[2].split() == ["0", "7", "1", "100.00%", "wrong"]
    assert [found["predicted"] for found in json.loads(out.read_text())] == [1, 1]


def test_predict_prints_outputs_if_there_are_no_probabilities(save, tmp_path):
    path, out = save("squared_error", [-0.5, 1.25, *[0.0] * 8]), tmp_path / "json"
    header, line, *_ = run("predict", path, "--index", "2", "--json", out).splitlines()
    assert header.split() == ["index", "label", "predicted", "output"]
    assert line.split() == ["2", "1", "1", "1.2500"]
    (found,) = json.loads(out.read_text())
    assert found.pop("outputs") == pytest.approx([-0.5, 1.25, *[0.0] * 8])
    assert found == {"index": 2, "label": 1, "predicted": 1}


@pytest.mark.parametrize(("bias", "predicted"), [(0.25, 0), (0.75, 1)])
def test_predict_prints_the_output_of_a_model_with_one(save, bias, predicted):
    line = run("predict", save("squared_error", [bias]), "--index", "3").splitlines()[2]
    assert line.split()[2:4] == [str(predicted), f"{bias:.4f}"]


def test_predict_prints_probabilities_that_the_last_layer_makes(save, tmp_path):
    path, out = save("squared_error", [0.0, 5.0, *[0.0] * 8], xpnet.Softmax()), tmp_path / "json"
    assert run("predict", path, "--index", "2", "--json", out).splitlines()[1].split()[3] == "94.28%"
    (found,) = json.loads(out.read_text())
    assert sum(found["probabilities"]) == pytest.approx(1.0)


def test_evaluate_draws_each_picture_that_is_asked_for(save, tmp_path):
    path = save("softmax_cross_entropy", SATURATED)
    names = {f"--plot{what}": tmp_path / f"picture{what}.png" for what in ("", "-mistakes", "-filters")}
    output = run("evaluate", path, *[part for option in names.items() for part in option])
    assert output.splitlines()[-3:] == [f"drew {picture}" for picture in names.values()]
    for picture in names.values():
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_pictures_in_one_file_are_refused(save, tmp_path):
    path = save("softmax_cross_entropy", SATURATED)
    done = CliRunner().invoke(app, ["evaluate", str(path), "--plot", "x.png", "--plot-filters", "x.png"])
    assert "`--plot`, `--plot-filters` name the same file" in done.output
