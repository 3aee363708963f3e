"""Invalid or lying model files are refused, by the documented error in one short line, and not read."""

import json
import os
import struct
import time
import tracemalloc

import numpy as np
import parts_of_ones_own  # noqa: F401  (registers the layers that files name)
import pytest

import xpnet
from xpnet import checkpoint
from xpnet.errors import MOST_CHARACTERS
from xpnet.models import MOST_LEVELS

LINEAR = '{"layer": "Linear", "n_in": 2, "n_out": 1}'
ABOUT = {"loss": "squared_error", "scaling": {}, "initial_sha256": "", "history": []}


@pytest.fixture
def refused(tmp_path, numpy_xp):
    """Return a function that returns the error message for a file or a path."""

    def refuse(content=None, *, path=None, kind=ValueError, model=None):
        place = tmp_path / "model" if path is None else path
        if content is not None:
            place.write_bytes(content)
        with pytest.raises(kind) as caught:
            xpnet.load(place, numpy_xp, model=model)
        message = str(caught.value)
        assert len(message) <= MOST_CHARACTERS
        assert message.isprintable()
        return message

    return refuse


def packed(header, data=b"", length=None):
    """Return a safetensors file with this header, given as JSON or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def described(model=f'{{"layer": "Sequential", "layers": [{LINEAR}]}}', about=ABOUT, **others):
    """Return the metadata of a model file."""
    text = about if isinstance(about, str) else json.dumps(about)
    return {"format": checkpoint.FORMAT, "model": model, "about": text, "sha256": "", **others}


def tensor(dtype="F32", shape=(2, 1), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


DTYPES = ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "BF16", "F16", "C64", "I64", "U8", "BOOL"]
BITS = {"F4": 4, "F6_E2M3": 6, "BF16": 16, "F16": 16, "C64": 64, "I64": 64}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, "ours"])
def test_dtype_that_no_model_has_is_refused(refused, dtype, metadata):
    size = BITS.get(dtype, 8)  # bytes of 8 numbers
    arrays = {"0.weight": tensor(dtype, (8, 8), size, 9 * size), "0.bias": tensor(dtype, (8,), 0, size)}
    if metadata == "ours":
        metadata = described(
            '{"layer": "Sequential", "layers": [{"layer": "Linear", "n_in": 8, "n_out": 8}]}'
        )
    message = refused(packed({"__metadata__": metadata or {}, **arrays}, bytes(9 * size)))
    # safetensors itself refuses dtypes that it does not know yet.
    expected = "not all float32 or all float64" if len(metadata or {}) > 1 else "its format is "
    assert expected in message or "not a whole safetensors file" in message


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": tensor(shape=[1] * 65, end=4)},
        {"x": tensor(shape=[0, 3], end=0)},
        {"x": tensor(shape=[0, 2**62, 2**62], end=0)},
        {"x" * 74_000: tensor()},
        {"\x1b[31m\n" * 5000: tensor()},
        {"0.weight": tensor(), "0.bias": tensor(shape=[1] * 20_000, begin=8, end=12)},
        {f"{i}": tensor(shape=[0], begin=8, end=8) for i in range(5000)} | {"0.weight": tensor()},
        {},
    ],
    ids=lambda arrays: f"{len(arrays)} arrays",
)
def test_arrays_that_are_not_the_models_are_refused(refused, arrays):
    end = max((x["data_offsets"][1] for x in arrays.values()), default=0)
    assert "its arrays are " in refused(packed({"__metadata__": described(), **arrays}, bytes(end)))


@pytest.mark.parametrize(
    "content",
    [
        packed({}, length=2**63),
        packed({}, length=99_999_999),
        packed({}, length=0),
        packed(b"[" * 5000),
        packed(b'{"x":' * 5000),
        packed({"x": tensor(begin=-4, end=4)}),
        packed({"x": tensor(begin=8, end=0)}),
        packed({"x": tensor(), "y": tensor()}, bytes(8)),
        packed({"x": tensor(begin=4, end=12)}, bytes(12)),
        packed({"x": tensor(shape=[2**40, 2**40])}, bytes(8)),
        packed({"x": tensor(shape=[10**400])}, bytes(8)),
        packed({"x": tensor(dtype="F\n" * 74_000)}, bytes(8)),
        packed({"__metadata__": {"format": 1}}),
        packed({"__metadata__": {"format": None}}),
        b"\xff" * 74_000,
        b"PK\x03\x04" * 100,
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_header_that_lies_is_refused(refused, content):
    assert "is not an xpnet model (not a whole safetensors file: " in refused(content)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"format": "F" * 74_000}, "its format is 'FFF"),
        ({"model": '{"layer": "' + "L" * 74_000 + '"}'}, "unknown layer"),
        ({"model": "7" * 74_000}, "digits"),
        ({"model": "[" * 74_000}, "nest too deep"),
        ({"model": '{"layer": "Dropout", "rate": NaN}'}, "NaN"),
        ({"model": '{"layer": "Dropout", "rate": Infinity}'}, "Infinity"),
        ({"model": '{"layer": "ReLU", "layer": "Tanh"}'}, "the same key twice"),
        ({"model": '{"layer": ["ReLU"]}'}, "cannot be read"),
        ({"model": '{"layer": "Sequential", "layers": 5}'}, "cannot be read"),
        ({"model": '{"layer": "Sequential", "layers": "abc"}'}, "cannot be read"),
        ({"model": '{"layer": "Sequential", "layers": []}'}, "cannot be read"),
        ({"model": '{"own": "' + "L" * 74_000 + '"}'}, "pass the model that was saved"),
        ({"about": "1" * 400}, "digits"),
        ({"about": '{"a": 1, "a": 2}'}, "the same key twice"),
        ({"about": "[" * 900 + "]" * 900}, "nest too deep"),
    ],
)
def test_description_that_is_not_ours_is_refused(refused, change, found):
    arrays = {"0.weight": tensor(), "0.bias": tensor(shape=[1], begin=8, end=12)}
    content = packed({"__metadata__": described() | change, **arrays}, bytes(12))
    assert found in refused(content)


SCALED = "parts_of_ones_own:Scaled"


@pytest.mark.parametrize(
    ("name", "fields", "found"),
    [
        (SCALED, {"features": 2, "other": 1}, "'Scaled' has the fields"),
        (SCALED, {"features": 2, "o" * 74_000: 1}, "'Scaled' has the fields"),
        (SCALED, {"start": 2}, "'Scaled' does not take its fields: TypeError"),
        (SCALED, {"features": 2, "names": {"layer": "Tuple"}}, "unknown layer"),
        (SCALED, {"features": 2, "names": {}}, "cannot be read"),
        (SCALED, {"features": 2, "names": [[[{"own": "Mine"}]]]}, "pass the model that was saved"),
        (SCALED, {"features": 2, "names": {"part": "SGD", "fields": {"lr": -1}}}, "`lr` must be"),
        (SCALED, {"features": 2, "names": {"part": "Linear", "fields": {}}}, "unknown part 'Linear'"),
        (SCALED, {"features": 2, "names": {"part": ["SGD"], "fields": {}}}, "cannot be read"),
        (SCALED, [1, 2], "cannot be read"),
        (SCALED, None, "cannot be read"),
        ("parts_of_ones_own:Twice", {"layer": 5}, "cannot be read"),
        ("parts_of_ones_own:Strange", {"code": 5}, "KeyError"),
        ("parts_of_ones_own:Strange", {"code": "import os"}, "RuntimeError"),
        ("other:Scaled", {"features": 2}, "`other` defines it: import that"),
        ("m" * 74_000 + ":Scaled", {}, " defines it: import that"),
        ("m:" + "S" * 74_000, {}, "`m` defines it: import that"),
        ("os; import sys:Scaled", {}, "is no name of a class"),
        ("\x1b[31m:Scaled\n", {}, "is no name of a class"),
        (":", {}, "is no name of a class"),
        ("Scaled", {}, "is no name of a class"),
        (5, {}, "is no name of a class"),
        (None, {}, "is no name of a class"),
        ([SCALED], {}, "is no name of a class"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_description_of_a_registered_layer_that_is_wrong_is_refused(refused, name, fields, found):
    layer = json.dumps({"registered": name, "fields": fields})
    model = f'{{"layer": "Sequential", "layers": [{layer}, {LINEAR}]}}'
    arrays = {"1.weight": tensor(), "1.bias": tensor(shape=[1], begin=8, end=12)}
    assert found in refused(packed({"__metadata__": described(model), **arrays}, bytes(12)))


def test_depth_of_registered_layers_costs_no_time(refused):
    layer = json.dumps({"registered": SCALED, "fields": {"features": 2}})
    for levels in (MOST_LEVELS, 5000):
        begin = '{"registered": "parts_of_ones_own:Twice", "fields": {"layer": '
        text = begin * levels + layer + "}}" * levels
        message = refused(
            packed({"__metadata__": described(f'{{"layer": "Sequential", "layers": [{text}]}}')})
        )
        assert "models are nested more than 100 deep" in message or "nest too deep" in message


@pytest.mark.parametrize("levels", [30, MOST_LEVELS, MOST_LEVELS + 1, 5000])
def test_depth_of_a_model_file_costs_no_time(refused, levels):
    model = '{"layer": "Sequential", "layers": [' * levels + LINEAR + "]}" * levels
    name = "0." * levels
    arrays = {f"{name}weight": tensor(), f"{name}bias": tensor(shape=[1], begin=8, end=12)}
    began = time.perf_counter()
    message = refused(packed({"__metadata__": described(model), **arrays}, bytes(12)))
    assert time.perf_counter() - began < 5
    if levels <= MOST_LEVELS:
        assert "its bytes have changed" in message  # Everything is right except the digest.
    else:
        assert "models are nested more than 100 deep" in message or "nest too deep" in message


def test_model_of_very_many_layers_is_read_in_time(refused, numpy_xp):
    n = 100_000
    layers = ", ".join(['{"layer": "ReLU"}'] * n)
    model = f'{{"layer": "Sequential", "layers": [{layers}, {LINEAR}]}}'
    arrays = {f"{n}.weight": tensor(), f"{n}.bias": tensor(shape=[1], begin=8, end=12)}
    content = packed({"__metadata__": described(model), **arrays}, bytes(12))
    began = time.perf_counter()
    assert "its bytes have changed" in refused(content)
    other = xpnet.Sequential(xpnet.Linear(2, 1))
    assert "`model` is not the one of" in refused(content, model=other)
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {}, described()])
def test_large_model_of_others_is_refused_unread(refused, tmp_path, metadata):
    size = 3 * 2**30
    header = {"__metadata__": metadata, "x": tensor("F32", [size // 4], 0, size)}
    content = packed(header)
    path = tmp_path / "large"
    path.write_bytes(content)
    os.truncate(path, len(content) + size)
    tracemalloc.start()
    try:
        refused(path=path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"loss": 1},
        {"loss": "l" * 74_000},
        {"scaling": {"scale": 10**18, "offset": "x" * 74_000}},
        {"scaling": 1},
        {"initial_sha256": 5},
        {"initial_sha256": ["x" * 74_000]},
        {"history": 1},
        {"history": "abc"},
        {"history": [{"epoch": "1", "train_loss": 1, "test_loss": 1, "test_accuracy": 1, "seconds": 1}]},
        {"history": [{"epoch": 1, "train_loss": "1", "test_loss": 1, "test_accuracy": 1, "seconds": 1}]},
        {"history": [{"epoch": 1, "train_loss": 1, "test_loss": 1, "test_accuracy": 1, "seconds": None}]},
        {"inputs": 1},
        {"inputs": {"dtype": "uint8", "low": 0, "high": 1, "count": "1"}},
        {"inputs": {"dtype": 5, "low": 0, "high": 1, "count": 1}},
        {"inputs": {"dtype": "uint8", "low": 0, "high": 1, "count": 1, "name": 5}},
        {"inputs": {"dtype": "uint8", "low": 0, "high": 1, "count": 1, "nom": 5}},
    ],
)
def test_description_of_a_training_in_a_file_has_the_right_kinds(refused, tmp_path, numpy_xp, change):
    model = xpnet.Sequential(xpnet.Linear(2, 1))
    about = {**ABOUT, "scaling": {"scale": 1.0, "offset": 0.0}}
    checkpoint.save(tmp_path / "model", numpy_xp, model, model.init(numpy_xp, 0), about)
    xpnet.load(tmp_path / "model", numpy_xp)
    checkpoint.save(tmp_path / "model", numpy_xp, model, model.init(numpy_xp, 0), about | change)
    assert "what it says about itself cannot be used" in refused()


def test_only_files_are_read(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    for path in ("pipe", "loop", "/dev/zero", ".", b"pipe", b"."):
        assert "cannot read " in refused(path=path, kind=OSError)
    for path in ("", "a\0b", "gone", b"gone", "loop/x/y", "x" * 74_000):
        assert "'" in refused(path=path, kind=OSError)
    for path in (5, None, 1.5):
        with pytest.raises(TypeError):
            xpnet.load(path)


@pytest.mark.parametrize("name", [str, os.fsencode, lambda path: path])
def test_every_kind_of_path_saves_and_loads(tmp_path, numpy_xp, name):
    model = xpnet.Sequential(xpnet.Linear(2, 1))
    path = name(tmp_path / "model")
    xpnet.Run(numpy_xp, model, model.init(numpy_xp, 0), "squared_error", xpnet.batches.Scaling(), "").save(
        path
    )
    assert xpnet.load(path, numpy_xp).model == model


def test_empty_arrays_of_a_users_layer_are_saved_and_loaded(tmp_path, numpy_xp):
    class Empty(xpnet.ReLU):
        shapes = {"nothing": (0, 3)}  # noqa: RUF012

        def init(self, xp, seed, *, dtype="float32"):
            return {"nothing": xp.zeros((0, 3), dtype=getattr(xp, dtype))}

    model = xpnet.Sequential(Empty())
    params = model.init(numpy_xp, 0)
    checkpoint.save(tmp_path / "model", numpy_xp, model, params, {})
    _, loaded, _ = checkpoint.load(tmp_path / "model", numpy_xp, model)
    np.testing.assert_array_equal(loaded["0.nothing"], params["0.nothing"])
