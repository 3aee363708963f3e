"""Tables and archives of one's own, trained on, evaluated and predicted by the command."""

import csv
import json

import numpy as np
import pytest
from sklearn import datasets
from test_cli import run

import xpnet


def write_table(path, data, targets, *, target="target"):
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow([*data.feature_names, "colour", target])
        for i, (x, t) in enumerate(zip(data.data, targets, strict=True)):
            rows.writerow([*x, "red" if i % 2 else "blue", t])
    return path


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    data = datasets.load_wine()
    return write_table(tmp_path_factory.mktemp("wine") / "wine.csv", data, data.target_names[data.target])


@pytest.fixture(scope="module")
def trained(wine):
    model = wine.with_suffix(".safetensors")
    options = "--target", "target", "--one-hot", "colour", "--epochs", 60, "--batch-size", 16, "--lr", 1
    output = run("train", "--data", wine, *options, "--save", model, "--json", wine.with_suffix(".json"))
    return model, output


def test_table_with_names_of_classes_is_learned(trained, wine):
    model, output = trained
    assert output.startswith(
        "numpy on cpu: 15-64-3 sigmoid, standardised inputs, Momentum(lr=1.0, beta=0.9)\n142 "
    )
    assert "142 training and 36 test samples, batches of 16" in output
    found = json.loads(wine.with_suffix(".json").read_text())
    assert found["history"][-1]["test_accuracy"] > 0.9
    assert found["config"].items() >= {"target": ["target"], "one_hot": ["colour"], "dataset": "csv"}.items()
    evaluation = run("evaluate", model, "--data", wine)
    assert f"test accuracy {found['history'][-1]['test_accuracy']:.2%}" in evaluation
    assert "class_1" in evaluation


def test_saved_model_encodes_other_tables_as_its_own(trained, wine, tmp_path):
    model, _ = trained
    with open(wine, newline="", encoding="utf-8") as file:
        rows = [row[::-1] for row in csv.reader(file)]
    with open(tmp_path / "other.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([row[1:] for row in rows[:6]])  # without the target, and turned around
    lines = run("predict", model, "--data", tmp_path / "other.csv").splitlines()
    assert lines[0].split() == ["index", "predicted", "probability"]
    assert [line.split()[2] for line in lines[1:]] == ["class_0"] * 5
    lines = run("predict", model, "--data", wine, "--index", "0:2").splitlines()
    assert [line.split()[:5] for line in lines[1:]] == [
        [str(i), "0", "class_0", "0", "class_0"] for i in (0, 1)
    ]


def test_values_of_a_table_are_learned(tmp_path):
    data = datasets.load_diabetes()
    table, model = write_table(tmp_path / "d.csv", data, data.target), tmp_path / "model"
    options = "--target", "target", "--one-hot", "--optimizer", "adam", "--lr", 0.01, "--epochs", 30
    more = (
        "--batch-size",
        32,
        "--save",
        model,
        "--json",
        tmp_path / "run.json",
        "--plot",
        tmp_path / "run.png",
    )
    output = run("train", "--data", table, *options, *more)
    assert "test R^2 0." in output
    assert "mean absolute error" in output
    assert json.loads((tmp_path / "run.json").read_text())["metrics"]["r2"] > 0.3
    assert "test R^2 0." in run("evaluate", model, "--data", table, "--json", tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"] is None
    run("predict", model, "--data", table, "--index", "3", "--json", tmp_path / "p.json")
    (found,) = json.loads((tmp_path / "p.json").read_text())
    assert found["target"] == [data.target[found["index"]]] or found["target"]
    assert found.keys() == {"index", "target", "predicted"}


def test_archive_is_learned(tmp_path):
    data = datasets.load_digits()
    np.savez(tmp_path / "digits.npz", x=data.data.astype("float32") / 16, y=data.target)
    output = run("train", "--data", tmp_path / "digits.npz", "--epochs", 5, "--save", tmp_path / "model")
    assert "64-64-10 sigmoid, Momentum" in output
    accuracy = output.partition("test accuracy ")[2]
    assert float(output.rpartition("test accuracy ")[2].partition("%")[0]) > 80
    assert accuracy
    assert "test accuracy" in run("evaluate", tmp_path / "model", "--data", tmp_path / "digits.npz")
    assert "index" in run("predict", tmp_path / "model", "--data", tmp_path / "digits.npz")


def test_library_predicts_the_names_that_a_table_had(wine, numpy_xp):
    data = xpnet.datasets.csv_file(wine, target="target", one_hot=True)
    model = xpnet.Sequential(xpnet.Standardize(15), xpnet.Linear(15, 3))
    fitted = xpnet.fit(numpy_xp, model, data, optimizer=xpnet.SGD(0.5), epochs=20, batch_size=32)
    assert set(fitted.predict(data)) == {"class_0", "class_1", "class_2"}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ((), 2, "a table needs the column to learn: name it with `--target COLUMN`"),
        (("--target", "kind"), 1, "has no column 'kind', only 'alcohol', "),
        (
            ("--target", "target"),
            1,
            "has the text 'blue' in row 1 (line 2), column 'colour', which must be a num",
        ),
        (("--target", "target", "--one-hot", "alcohool"), 1, "has no column 'alcohool'"),
        (("--target", "target", "--one-hot", "colour", "--task", "regression"), 1, "'class_0'"),
    ],
)
def test_wrong_columns_are_one_line(wine, options, status, message):
    assert message in run("train", "--data", wine, *options, status=status)


def test_options_of_tables_are_for_tables():
    assert "`--target` is for tables, CSV files; leave it out" in run("train", "--target", "label", status=2)


def test_table_for_a_model_of_images_is_refused(wine, tmp_path):
    model = tmp_path / "model"
    run("train", "--limit", 100, "--epochs", 1, "--save", model)
    assert "the model was not trained on a table, so it cannot read" in run(
        "evaluate", model, "--data", wine, status=1
    )
