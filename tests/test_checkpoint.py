"""Model files with users' layers, and of nested models."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import xpnet
from xpnet import Linear, ReLU, Sequential, Softmax, checkpoint
from xpnet.models import MOST_LEVELS


@dataclasses.dataclass(frozen=True)
class Power:
    """``y = scale * x``; a frozen dataclass with a field that JSON cannot represent."""

    start: Any = 1.0
    function: Any = max

    @property
    def shapes(self):
        return {"scale": ()}

    def init(self, xp, seed, *, dtype="float32"):
        return {"scale": xp.full((), float(self.start), dtype=getattr(xp, dtype))}

    def __call__(self, xp, params, x, *, stream=None):
        def pullback(dy, *, input_gradient=True):
            return dy * params["scale"], {"scale": xp.sum(dy * x)}

        return x * params["scale"], pullback


class Counting(ReLU):
    """A layer with state: it counts its calls."""

    def __init__(self):
        object.__setattr__(self, "calls", 0)

    def __call__(self, xp, params, x, *, stream=None):
        object.__setattr__(self, "calls", self.calls + 1)
        return super().__call__(xp, params, x, stream=stream)


class Network(Sequential):
    def __init__(self, width=5):
        super().__init__(Linear(12, width), Counting(), Linear(width, 3))


class Linear2(Linear):
    pass


Linear2.__name__ = "Linear"  # not the class of that name

MODELS = {
    "frozen data": lambda: Sequential(Power(2.0), Linear(12, 3), Softmax()),
    "changing": lambda: Sequential(Linear(12, 5), Counting(), Linear(5, 3)),
    "nested": lambda: Sequential(Linear(12, 3), Sequential(Power(), Sequential(Softmax()))),
    "a model of one's own": Network,
    "a name of ours": lambda: Sequential(Linear2(12, 3)),
    "a lambda in a field": lambda: Sequential(Power(function=lambda x: x), Linear(12, 3)),
    "an array in a field": lambda: Sequential(Power(np.ones(())), Linear(12, 3)),
}


def train(xp, model, dataset):
    return xpnet.fit(xp, model, dataset, optimizer=xpnet.SGD(0.5), epochs=1, batch_size=32)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_users_layers_are_saved_and_loaded_with_the_model(backend, dataset, tmp_path, make):
    run = train(backend, make(), dataset)
    run.save(tmp_path / "model")
    model = make()
    loaded = xpnet.load(tmp_path / "model", backend, model=model)
    assert loaded.model is model
    assert loaded.history == run.history
    for name, p in run.params.items():
        assert loaded.params[name].shape == p.shape
        np.testing.assert_array_equal(backend.to_host(loaded.params[name]), backend.to_host(p))
    np.testing.assert_array_equal(loaded.predict_proba(dataset), run.predict_proba(dataset))
    with pytest.raises(ValueError, match=r"'.*model' has a layer '.*', whose class is not from xpnet; pass"):
        xpnet.load(tmp_path / "model", backend)


@pytest.mark.parametrize(
    "model",
    [
        Sequential(Power(3.0), Linear(12, 3), Softmax()),
        Sequential(Power(2.0), Linear(12, 3)),
        Sequential(Power(2.0), Linear(12, 3, "normal"), Softmax()),
        Sequential(Counting(), Linear(12, 3), Softmax()),
        Sequential(Linear(12, 3)),
    ],
)
def test_another_model_than_was_saved_is_refused(numpy_xp, dataset, tmp_path, model):
    train(numpy_xp, MODELS["frozen data"](), dataset).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"`model` is not the one of '.*model', which is {.*'start': 2.0"):
        xpnet.load(tmp_path / "model", numpy_xp, model=model)


def test_known_model_is_loaded_with_and_without_it(numpy_xp, dataset, tmp_path):
    model = Sequential(Linear(12, 3), Sequential(Softmax()))
    train(numpy_xp, model, dataset).save(tmp_path / "model")
    assert xpnet.load(tmp_path / "model", numpy_xp).model == model
    assert xpnet.load(tmp_path / "model", numpy_xp, model=model).model is model


def nested(levels, layer):
    for _ in range(levels):
        layer = Sequential(layer)
    return layer


def test_deeply_nested_model_is_saved_and_loaded(numpy_xp, dataset, tmp_path):
    model = nested(MOST_LEVELS, Linear(12, 3))
    train(numpy_xp, model, dataset).save(tmp_path / "model")
    assert xpnet.load(tmp_path / "model", numpy_xp).model == model


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 400, 100_000])
def test_file_nested_deeper_than_a_model_may_be_is_refused(numpy_xp, tmp_path, levels):
    with pytest.raises(ValueError, match="models are nested 101 deep; nest at most 100"):
        nested(MOST_LEVELS + 1, ReLU())
    layer = '{"layer": "Linear", "n_in": 1, "n_out": 1}'
    text = f'{{"layer": "Sequential", "layers": [{layer}, ' * levels + layer + "]}" * levels
    metadata = {"format": checkpoint.FORMAT, "model": text, "about": "{}"}
    data = safetensors.numpy.save({"x": np.zeros(1, np.float32)}, metadata)
    (tmp_path / "model").write_bytes(data)
    with pytest.raises(ValueError, match=r"is not an xpnet model \(its description cannot be read: "):
        xpnet.load(tmp_path / "model", numpy_xp)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" + "0" * 5000, "1e999", "true", '"3"', "NaN", "-1"])
def test_file_with_a_number_out_of_reach_is_refused(numpy_xp, tmp_path, number):
    for layer in (f'{{"layer": "Dropout", "rate": {number}}}', f'{{"layer": "Linear", "n_in": {number}}}'):
        text = f'{{"layer": "Sequential", "layers": [{layer}]}}'
        metadata = {"format": checkpoint.FORMAT, "model": text, "about": json.dumps({})}
        (tmp_path / "model").write_bytes(safetensors.numpy.save({"x": np.zeros(1)}, metadata))
        with pytest.raises(ValueError, match=r"is not an xpnet model \(its description cannot be read: "):
            xpnet.load(tmp_path / "model", numpy_xp)
