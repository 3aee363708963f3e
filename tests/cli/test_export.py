"""``xpnet export``."""

import inspect
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from test_cli import run

import xpnet
from xpnet.cli.app import app


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def quickly(*args):
    done = CliRunner().invoke(app, [*map(str, args)], standalone_mode=False)
    assert done.exception is None, done.output
    return done.output


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    quickly("train", "--limit", 300, "--epochs", 1, "--hidden", 16, "--save", path, "--quiet")
    return path


def test_file_is_beside_the_model_and_one_line_says_what_it_is(saved):
    output = run("export", saved)
    path = saved.with_suffix(".onnx")
    assert output == (
        f"wrote {path}: inputs (batch, 784) uint8 -> label (batch) int64, probabilities (batch, 10) float32, "
        f"outputs (batch, 10) float32; operator set 17; {path.stat().st_size:,} bytes\n"
    )
    images = xpnet.datasets.mnist()[1].images[:50]
    wanted = xpnet.load(saved, xpnet.backend("numpy"))
    label, probabilities, _ = session_of(path).run(None, {"inputs": images})
    assert label.tolist() == wanted.predict(images).tolist()
    np.testing.assert_allclose(probabilities, wanted.predict_proba(images), atol=1e-6)


def test_file_is_the_one_that_the_library_writes(saved, tmp_path):
    quickly("export", saved, tmp_path / "a.onnx", "--opset", 18)
    xpnet.load(saved, xpnet.backend("numpy")).export(tmp_path / "b.onnx", opset=18)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_operator_set_is_the_usual_one_unless_another_is_asked_for():
    option = next(option for option in app.commands["export"].params if option.name == "opset")
    assert option.default == xpnet.onnx.OPSET
    assert inspect.signature(xpnet.Run.export).parameters["opset"].default == xpnet.onnx.OPSET


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "cnn", "--dropout", 0.3),
        ("--hidden", "12,8", "--activation", "gelu", "--dropout", 0.2),
        ("--hidden", "none", "--loss", "sigmoid_cross_entropy"),
    ],
    ids=str,
)
def test_networks_of_the_command_predict_the_same(options, tmp_path):
    model, file = tmp_path / "m", tmp_path / "m.onnx"
    quickly("train", *options, "--limit", 200, "--epochs", 1, "--quiet", "--save", model)
    quickly("export", model, file)
    images = xpnet.datasets.mnist()[1].images[:50]
    wanted = xpnet.load(model, xpnet.backend("numpy"))
    label, probabilities, _ = session_of(file).run(None, {"inputs": images})
    assert label.tolist() == wanted.predict(images).tolist()
    np.testing.assert_allclose(probabilities, wanted.predict_proba(images), atol=1e-5)


def test_model_of_a_table_takes_the_encoded_columns(tmp_path):
    table, model, file = (tmp_path / name for name in ("t.csv", "m", "m.onnx"))
    lines = [f"{i},{'red' if i % 3 else 'green'},{i * 0.5},{'old' if i % 2 else 'new'}" for i in range(40)]
    table.write_text("\n".join(["id,colour,weight,age", *lines]) + "\n")
    options = "--target", "age", "--one-hot", "--epochs", 1, "--quiet"
    quickly("train", "--data", table, *options, "--save", model)
    assert "inputs (batch, 4) float32 -> label (batch) str, " in quickly("export", model, file)
    session = session_of(file)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["features"]) == ["id", "colour=green", "colour=red", "weight"]
    assert json.loads(about["classes"]) == ["new", "old"]
    wanted = xpnet.load(model, xpnet.backend("numpy"))
    rows = wanted.encoding.read(table, targets=False)
    assert session.run(["label"], {"inputs": rows})[0].tolist() == wanted.predict(rows).tolist()


def test_options_choose_dtypes_and_the_size_of_images(tmp_path):
    layers = xpnet.Conv2d(3, 4, 3), xpnet.GlobalAvgPool2d(), xpnet.Linear(4, 2)
    data = xpnet.Dataset(np.arange(720, dtype=np.uint8).reshape(10, 6, 4, 3) % 251, np.arange(10) % 2)
    xp, model, file = xpnet.backend("numpy"), tmp_path / "m", tmp_path / "m.onnx"
    fitted = xpnet.fit(
        xp, xpnet.Sequential(*layers), data, epochs=1, optimizer=xpnet.SGD(0.1), dtype="float64"
    )
    fitted.save(model)
    note = "note: onnxruntime"
    assert note in quickly("export", model, file)  # It has no convolution in float64.
    options = "--dtype", "float32", "--input-dtype", "float64", "--size", "8,9"
    output = quickly("export", model, file, *options)
    assert "inputs (batch, 8, 9, 3) float64 -> " in output
    assert note not in output
    assert session_of(file).get_outputs()[1].type == "tensor(float)"


@pytest.mark.parametrize("options", [(), ("--dtype", "float32"), ("--dtype", "float64")])
def test_model_that_is_refused_gets_advice_about_dtype_unless_it_is_float32(
    saved, tmp_path, monkeypatch, options
):
    monkeypatch.setattr("xpnet.onnx.runtime.refusal", lambda model: "onnxruntime does not load it")
    output = quickly("export", saved, tmp_path / "m.onnx", *options)
    assert "note: onnxruntime does not load it" in output
    assert ("see `--dtype`" in output) == ("float64" in options)


def test_standard_output_gets_only_the_file(saved, tmp_path):
    command = [sys.executable, "-m", "xpnet", "export", str(saved), "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr.startswith(b"wrote /dev/stdout: inputs ")
    onnx.checker.check_model(onnx.load_from_string(done.stdout))


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["nothing"], 1, "no model at 'nothing'; pass a file that `run.save` wrote"),
        ([__file__], 1, "is not an xpnet model ("),
        (["MODEL", "--opset", 9], 1, "`opset` must be at least 17, got 9; choose 17 or a newer one"),
        (["MODEL", "--opset", 999], 1, "knows operator sets up to"),
        (["MODEL", "MODEL"], 2, "is the model itself; name another file for ONNX"),
        (["MODEL", "missing/m.onnx"], 2, "there is no folder 'missing'; create it first"),
        (["MODEL", "."], 2, "cannot write '.': it is not a file; name one"),
        (
            ["MODEL", "--size", "3,3"],
            1,
            "the model does not take inputs of shape (3, 3): it takes 784 features",
        ),
    ],
)
def test_bad_usage_is_one_line(args, status, message, saved):
    error = run("export", *(saved if arg == "MODEL" else arg for arg in args), status=status)
    assert message in error
