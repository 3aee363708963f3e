"""Trained runs as ONNX files: inputs, outputs, metadata, and what cannot be exported."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import types

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest

import xpnet
from xpnet import Linear, ReLU, Sequential
from xpnet.layer import Unparametrised

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(60, 4)).astype(np.float32)
CLASS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int) + (ROWS[:, 2] > 1)
NAMES = np.array(["Äpfel", "pears", "a plum"])
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
COLOURED = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def mlp(n_out=3, *more):
    return Sequential(Linear(4, 5), ReLU(), Linear(5, n_out), *more)


def cnn(channels, *more):
    return Sequential(xpnet.Conv2d(channels, 4, 3), ReLU(), *more, xpnet.GlobalAvgPool2d(), Linear(4, 3))


def trained(xp, model, inputs, targets, classes=None, **options):
    data = xpnet.Dataset(inputs, targets, classes=classes)
    return xpnet.fit(xp, model, data, epochs=1, batch_size=20, optimizer=xpnet.SGD(0.05), seed=1, **options)


def own_loss(xp, outputs, targets):
    return xp.nn.squared_error(outputs, xp.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype))


SIGMOID = {"loss": "sigmoid_cross_entropy"}
SQUARED = {"loss": "squared_error"}
ONE_HOT = np.eye(3)[CLASS]
FEW = CLASS[:40]
NORMS = Sequential(
    *(xpnet.Standardize(4), Linear(4, 6), xpnet.BatchNorm(6), xpnet.Dropout(0.2), xpnet.LayerNorm(6)),
    Linear(6, 3),
)
COLOUR_NET = cnn(3, xpnet.BatchNorm(4), xpnet.RandomFlip())
# Models with inputs, targets and options of a training.
CASES = {
    "names": (mlp(), ROWS, NAMES[CLASS], {}),
    "indices with names": (mlp(), ROWS, CLASS, {"classes": NAMES}),
    "indices": (mlp(), ROWS, CLASS, {}),
    "float64": (mlp(), ROWS.astype(float), CLASS, {"dtype": "float64"}),
    "float64 inputs": (mlp(), ROWS.astype(float), CLASS, {}),
    "softmax at the end": (mlp(3, xpnet.Softmax()), ROWS, CLASS, {}),
    "softmax within": (mlp(3, Sequential(ReLU(), xpnet.Softmax())), ROWS, CLASS, {}),
    "two classes, one output": (mlp(1), ROWS, np.minimum(CLASS, 1), SIGMOID),
    "two names, one output": (mlp(1, xpnet.Sigmoid()), ROWS, NAMES[np.minimum(CLASS, 1)], SIGMOID),
    "one-hot": (mlp(), ROWS, ONE_HOT, {}),
    "labels": (mlp(), ROWS, ONE_HOT, SIGMOID),
    "values": (mlp(2), ROWS, ROWS[:, :2] * 3, SQUARED),
    "classes by squared error": (mlp(), ROWS, CLASS, SQUARED),
    "squared error of softmax": (mlp(3, xpnet.Softmax()), ROWS, NAMES[CLASS], SQUARED),
    "a loss of one's own": (mlp(), ROWS, CLASS, {"loss": own_loss}),
    "dropout and norms": (NORMS, ROWS, CLASS, {}),
    "grey images": (cnn(1), GREY, FEW, {}),
    "coloured images": (COLOUR_NET, COLOURED, FEW, {}),
    "float images": (cnn(3), COLOURED / np.float32(255), FEW, {}),
    "images as rows": (Sequential(Linear(90, 3)), COLOURED, FEW, {}),
    "grey images as rows": (Sequential(Linear(30, 3)), GREY, FEW, {}),
    "scaled otherwise": (cnn(3), COLOURED, FEW, {"scale": 1 / 128, "offset": -1.0}),
    "not scaled": (cnn(1), GREY, FEW, {"scale": 1.0}),
    "pixels in rows": (xpnet.mlp(30, 8, 3), GREY.reshape(40, 30), FEW, {}),
}


def run_of(xp, name):
    *arguments, options = CASES[name]
    return trained(xp, *arguments, **options)


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def expected(run, x):
    """Return what an ONNX model of a run should give, by the names of its outputs."""
    found = {} if run.task == "values" else {"label": run.predict(x)}
    if run.task != "values":
        with contextlib.suppress(ValueError):
            found["probabilities"] = run.predict_proba(x)
    return found | {"outputs": run.predict_outputs(x)}


@pytest.mark.parametrize("name", CASES)
def test_onnx_takes_what_the_user_has_and_gives_what_the_run_gives(name, numpy_xp, tmp_path):
    run, path, x = run_of(numpy_xp, name), tmp_path / "model.onnx", CASES[name][1]
    run.export(path)
    wanted = expected(run, x)
    session = session_of(path)
    assert [entry.name for entry in session.get_inputs()] == ["inputs"]
    assert session.get_inputs()[0].shape == ["batch", *x.shape[1:]]
    assert [(out.name, out.shape) for out in session.get_outputs()] == [
        (key, ["batch", *value.shape[1:]]) for key, value in wanted.items()
    ]
    for found in (
        session.run(None, {"inputs": x}),
        onnx.reference.ReferenceEvaluator(str(path)).run(None, {"inputs": x}),
    ):
        for value, (key, right) in zip(found, wanted.items(), strict=True):
            if key == "label":
                assert value.tolist() == right.tolist()
                continue
            assert value.dtype == right.dtype
            np.testing.assert_allclose(value, right, rtol=0, atol=TOLERANCE[right.dtype.name] * 2)
    assert session.run(["outputs"], {"inputs": x[:1]})[0].shape == (1, *wanted["outputs"].shape[1:])


def test_labels_are_names_if_training_had_names_and_else_indices(numpy_xp, tmp_path):
    for name, kind in {"names": "tensor(string)", "indices with names": "tensor(int64)"}.items():
        run_of(numpy_xp, name).export(tmp_path / "m.onnx")
        session = session_of(tmp_path / "m.onnx")
        assert session.get_outputs()[0].type == kind
        assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == [
            *(sorted(NAMES) if name == "names" else NAMES)
        ]


def test_metadata_say_who_made_the_file_and_what_it_predicts(numpy_xp, tmp_path):
    run_of(numpy_xp, "values").export(tmp_path / "m.onnx")
    about = session_of(tmp_path / "m.onnx").get_modelmeta()
    assert about.producer_name == "xpnet"
    assert about.custom_metadata_map == {"task": "values"}
    model = onnx.load(tmp_path / "m.onnx")
    assert model.producer_version == xpnet.__version__
    assert "squared_error" in model.doc_string
    assert all(entry.doc_string for entry in (*model.graph.input, *model.graph.output))
    assert model.ir_version == 8


def test_columns_of_a_table_are_in_the_metadata(numpy_xp, tmp_path):
    table = tmp_path / "fruit.csv"
    lines = [f"{i},{'red' if i % 3 else 'green'},{i * 0.5},{NAMES[i % 3]}" for i in range(30)]
    table.write_text("\n".join(["id,colour,weight,kind", *lines]) + "\n", encoding="utf-8")
    data = xpnet.datasets.csv_file(table, target="kind", one_hot=True)
    model = Sequential(xpnet.Standardize(4), Linear(4, 3))
    run = xpnet.fit(numpy_xp, model, data, epochs=2, batch_size=10, optimizer=xpnet.SGD(0.1))
    run.export(tmp_path / "m.onnx")
    session = session_of(tmp_path / "m.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["features"]) == ["id", "colour=green", "colour=red", "weight"]
    assert json.loads(about["encoding"]) == run.encoding.about()
    assert json.loads(about["classes"]) == sorted(NAMES)
    assert session.get_inputs()[0].type == "tensor(float)"
    label, probabilities, _ = session.run(None, {"inputs": data.inputs})
    assert label.tolist() == run.predict(data).tolist()
    np.testing.assert_allclose(probabilities, run.predict_proba(data), atol=1e-6)


@pytest.mark.parametrize("model", [xpnet.mlp(784, 16, 10), xpnet.lenet5()], ids=["mlp", "lenet5"])
def test_shipped_networks_predict_the_same_digits(model, numpy_xp, mnist, tmp_path):
    train, test = mnist
    run = xpnet.fit(numpy_xp, model, train[:1000], epochs=1, optimizer=xpnet.Adam(0.01), seed=1)
    run.export(tmp_path / "m.onnx")
    label, probabilities, outputs = session_of(tmp_path / "m.onnx").run(None, {"inputs": test.images[:500]})
    assert (label == run.predict(test.images[:500])).all()
    assert (label == test.labels[:500]).mean() > 0.4
    np.testing.assert_allclose(probabilities, run.predict_proba(test.images[:500]), atol=1e-5)
    np.testing.assert_allclose(outputs, run.predict_outputs(test.images[:500]), atol=1e-4)


def test_equal_runs_give_equal_files_also_after_loading_and_on_every_backend(backend, tmp_path, numpy_xp):
    places = [tmp_path / name for name in ("one", "two", "three")]
    first = run_of(numpy_xp, "coloured images")
    first.export(places[0])
    first.save(tmp_path / "m")
    again = run_of(numpy_xp, "coloured images")
    again.export(places[1])
    xpnet.load(tmp_path / "m", backend).export(places[2])
    assert len({place.read_bytes() for place in places}) == 1


def test_saved_run_remembers_that_images_had_no_channels(numpy_xp, tmp_path):
    run_of(numpy_xp, "grey images").save(tmp_path / "m")
    run = xpnet.load(tmp_path / "m", numpy_xp)
    assert run.inputs.stored_shape == (6, 5)
    run.export(tmp_path / "m.onnx")
    assert session_of(tmp_path / "m.onnx").get_inputs()[0].shape == ["batch", 6, 5]


def test_convolutions_in_float64_run_in_onnxruntime_as_float32(numpy_xp, tmp_path):
    run = trained(numpy_xp, cnn(3), COLOURED, CLASS[:40], dtype="float64")
    run.export(tmp_path / "m.onnx", dtype="float32")
    found = session_of(tmp_path / "m.onnx").run(["outputs"], {"inputs": COLOURED})[0]
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, run.predict_outputs(COLOURED), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_model_of_pixels_can_take_scaled_floats(numpy_xp, tmp_path, dtype):
    run = run_of(numpy_xp, "coloured images")
    run.export(tmp_path / "m.onnx", input_dtype=dtype)
    x = (COLOURED / 255).astype(dtype)
    found = session_of(tmp_path / "m.onnx").run(["outputs"], {"inputs": x})[0]
    np.testing.assert_allclose(found, run.predict_outputs(COLOURED), atol=1e-5)


def test_network_without_fixed_size_is_exported_for_other_sizes(numpy_xp, tmp_path):
    run = run_of(numpy_xp, "coloured images")
    run.export(tmp_path / "m.onnx", shape=(9, 8, 3))
    x = np.random.default_rng(1).integers(0, 256, (3, 9, 8, 3), dtype=np.uint8)
    found = session_of(tmp_path / "m.onnx").run(["outputs"], {"inputs": x})[0]
    np.testing.assert_allclose(found, run.predict_outputs(x), atol=1e-5)


def test_shape_is_asked_for_where_a_run_does_not_know_it(numpy_xp, tmp_path):
    run = dataclasses.replace(run_of(numpy_xp, "coloured images"), inputs=None)
    with pytest.raises(ValueError, match=r"pass `shape=\(height, width, channels\)`$"):
        run.export(tmp_path / "m.onnx")
    run.export(tmp_path / "m.onnx", shape=(6, 5, 3))
    assert session_of(tmp_path / "m.onnx").get_inputs()[0].type == "tensor(float)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 16}, r"^`opset` must be at least 17, got 16; choose 17 or a newer one$"),
        ({"opset": 999}, r"^`opset` is 999, but onnx [\d.]+ knows operator sets up to \d+; pass a smaller"),
        ({"opset": True}, r"^`opset` must be a whole number above 0, got True$"),
        ({"dtype": "float16"}, r"^unknown dtype 'float16': choose one of float32, float64$"),
        ({"input_dtype": "int8"}, r"^unknown input_dtype 'int8': choose one of uint8, float32, float64$"),
        (
            {"shape": (6, 5, 2)},
            r"^the model does not take inputs of shape \(6, 5, 2\): layer 0: takes images",
        ),
        ({"shape": (0, 5, 3)}, r"^the model does not take inputs of shape \(0, 5, 3\): pass \(height, width"),
        ({"shape": (6,)}, r"^the model does not take inputs of shape \(6,\): "),
    ],
)
def test_options_that_do_not_fit_are_refused_and_nothing_is_written(options, message, numpy_xp, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(ValueError, match=message):
        run_of(numpy_xp, "coloured images").export(tmp_path / "m.onnx", **options)
    assert (tmp_path / "m.onnx").read_bytes() == b"old"
    assert len([*tmp_path.iterdir()]) == 1


def refusing(above):
    """Return a stand-in for an onnxruntime that knows operator sets up to this one."""

    def session(data, options, providers):
        if onnx.load_from_string(data).opset_import[0].version > above:
            raise RuntimeError("Current official support for domain ai.onnx is till opset 17.")

    return types.SimpleNamespace(
        __version__="1.12.0", SessionOptions=types.SimpleNamespace, InferenceSession=session
    )


def test_operator_set_that_onnxruntime_is_too_old_for_is_refused(numpy_xp, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", refusing(17))
    run = run_of(numpy_xp, "names")
    run.export(tmp_path / "m.onnx")
    with pytest.raises(
        ValueError, match=r"^`opset` is 18, for which onnxruntime 1\.12\.0 is too old; choose 17"
    ):
        run.export(tmp_path / "m.onnx", opset=18)


def test_every_operator_set_is_exported_or_refused_by_name(numpy_xp, tmp_path):
    run = run_of(numpy_xp, "coloured images")
    for opset in range(17, onnx.defs.onnx_opset_version() + 1):
        try:
            run.export(tmp_path / "m.onnx", opset=opset)
        except ValueError as e:
            assert str(e).startswith(f"`opset` is {opset}, for which onnxruntime")  # noqa: PT017
            continue
        found = session_of(tmp_path / "m.onnx").run(["outputs"], {"inputs": COLOURED})[0]
        np.testing.assert_allclose(found, run.predict_outputs(COLOURED), atol=1e-5)


def test_export_works_without_onnxruntime(numpy_xp, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    run_of(numpy_xp, "names").export(tmp_path / "m.onnx", opset=18)
    assert (tmp_path / "m.onnx").exists()


def test_missing_onnx_is_one_error_that_says_what_to_install(numpy_xp, tmp_path, monkeypatch):
    run = run_of(numpy_xp, "names")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"; install it with `pip install 'xpnet\[onnx\]'`$"):
        run.export(tmp_path / "m.onnx")


def test_importing_the_package_does_not_import_onnx():
    program = "import sys, xpnet.onnx, xpnet.cli.app; print({'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_model_that_is_too_large_for_a_file_is_refused(numpy_xp, tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.onnx.model._MOST_BYTES", 100)
    with pytest.raises(
        ValueError, match=r"^the parameters have 172 bytes, but an ONNX file holds less than 2 GiB"
    ):
        run_of(numpy_xp, "names").export(tmp_path / "m.onnx")


def test_parameters_beyond_the_dtype_are_refused(numpy_xp, tmp_path):
    run = run_of(numpy_xp, "float64")
    run.params["2.bias"][1] = 1e200
    with pytest.raises(
        ValueError, match=r"^the parameter '2\.bias' is not finite in float32; choose another dtype$"
    ):
        run.export(tmp_path / "m.onnx", dtype="float32")


@dataclasses.dataclass(frozen=True)
class Cubed(Unparametrised):
    """``x**3``."""

    def __call__(self, xp, params, x, *, stream=None):
        return x**3, lambda dy, *, input_gradient=True: (3 * x**2 * dy, {})


@dataclasses.dataclass(frozen=True)
class ExportedCubed(Cubed):
    """The same, with a translation."""

    def to_onnx(self, graph, params, x):
        return graph.node("Mul", graph.node("Mul", x, x), x)


class Quadrupled(ExportedCubed):
    """Another function, with the translation of its base."""

    def __call__(self, xp, params, x, *, stream=None):
        return 4 * x, lambda dy, *, input_gradient=True: (4 * dy, {})


class Absent(Cubed):
    def to_onnx(self, graph, params, x):
        return None


class Unknown(Cubed):
    def to_onnx(self, graph, params, x):
        return graph.node("Cube", x)


@dataclasses.dataclass(frozen=True)
class Halves:
    """``inner(x)`` times a parameter: a layer with a layer, and fewer outputs than inputs."""

    inner: object
    n_in: int
    n_out: int

    @property
    def shapes(self):
        return {**self.inner.shapes, "factor": (self.n_out,)}

    def init(self, xp, seed, *, dtype="float32"):
        factor = xp.asarray(np.linspace(0.5, 1, self.n_out, dtype=dtype))
        return self.inner.init(xp, seed, dtype=dtype) | {"factor": factor}

    def __call__(self, xp, params, x, *, stream=None):
        y, pullback = self.inner(xp, params, x)

        def backward(dy, *, input_gradient=True):
            dx, grads = pullback(dy * params["factor"], input_gradient=input_gradient)
            return dx, grads | {"factor": xp.sum(dy * y, axis=0)}

        return y * params["factor"], backward

    def to_onnx(self, graph, params, x):
        inner = xpnet.onnx.add_layer(graph, self.inner, params, x)
        return graph.node("Mul", inner, graph.parameter(params["factor"], "factor"))


def test_layers_of_ones_own_export_themselves(numpy_xp, tmp_path):
    inner = Halves(Linear(4, 2), 4, 2)
    run = trained(numpy_xp, Sequential(ExportedCubed(), inner, Sequential(Linear(2, 3))), ROWS, CLASS)
    run.export(tmp_path / "m.onnx")
    found = session_of(tmp_path / "m.onnx").run(["outputs"], {"inputs": ROWS})[0]
    np.testing.assert_allclose(found, run.predict_outputs(ROWS), atol=1e-5)
    names = {constant.name for constant in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert {"1.factor", "1.weight", "2.0.weight"} <= names


def test_layer_of_ones_own_gets_images_with_their_channels_last(numpy_xp, tmp_path):
    model = cnn(3, ExportedCubed(), xpnet.LayerNorm(4), ExportedCubed())
    run = trained(numpy_xp, model, COLOURED, CLASS[:40])
    run.export(tmp_path / "m.onnx")
    found = session_of(tmp_path / "m.onnx").run(["outputs"], {"inputs": COLOURED})[0]
    np.testing.assert_allclose(found, run.predict_outputs(COLOURED), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Cubed(),
            r"^layer 1, Cubed\(\), cannot be written in ONNX; give its class a method `to_onnx\(self, gra",
        ),
        (Sequential(ReLU(), Cubed()), r"^layer 1\.1, Cubed\(\), cannot be written in ONNX"),
        (Quadrupled(), r"^layer 1, Quadrupled\(\), cannot be written in ONNX"),
        (Absent(), r"^`to_onnx` of layer 1, Absent\(\), returned None; return what `graph.node` returned$"),
        (Unknown(), r"^onnx refuses the model: .*Cube.*; correct `to_onnx` of the layers of your own$"),
    ],
)
def test_layers_that_cannot_be_exported_are_named(layer, message, numpy_xp, tmp_path):
    run = trained(numpy_xp, Sequential(Linear(4, 3), layer), ROWS, CLASS)
    with pytest.raises((ValueError, TypeError), match=message) as e:
        run.export(tmp_path / "m.onnx")
    assert len(str(e.value)) <= 300
    assert not (tmp_path / "m.onnx").exists()
