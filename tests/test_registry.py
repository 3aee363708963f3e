"""Registered classes: what can be registered, and that files hold their names and fields."""

import dataclasses
import json
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from parts_of_ones_own import Centred, Logistic, Noisy, Scaled, Twice, logistic

import xpnet
from xpnet import Linear, Sequential, checkpoint, registry
from xpnet.descriptions import build, describe, fits
from xpnet.layer import Unparametrised
from xpnet.problem import Problem
from xpnet.trainer import Trainer

MODELS = {
    "parameters": Sequential(Scaled(12, 0.5, ("a", (1, 2.5, None, True))), Linear(12, 3)),
    "layers in a field": Sequential(Twice(Sequential(Scaled(12), Linear(12, 12))), Linear(12, 3)),
    "state": Sequential(Centred(12), Linear(12, 3)),
    "random numbers": Sequential(Linear(12, 5), Noisy(), Linear(5, 3)),
}


@pytest.fixture
def registered(monkeypatch):
    """Return the registered classes, by name; what a test adds or removes is undone."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    return registry._registered


def made(name, fields=(("rate", float),), *, frozen=True, module="mypackage.layers", **options):
    kind = dataclasses.make_dataclass(name, fields, bases=(Unparametrised,), frozen=frozen, namespace=options)
    kind.__module__ = module  # set here, because from Python 3.12 on `make_dataclass` overrides its namespace
    return kind


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_registered_layers_are_saved_and_loaded_without_the_model(backend, dataset, tmp_path, model):
    run = xpnet.fit(backend, model, dataset, optimizer=xpnet.SGD(0.1), epochs=1, batch_size=32)
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", backend)
    assert loaded.model == model
    assert repr(loaded.model) == repr(model)
    np.testing.assert_array_equal(loaded.predict_outputs(dataset), run.predict_outputs(dataset))
    assert xpnet.load(tmp_path / "model", backend, model=model).model is model


def test_register_returns_the_class_and_is_a_decorator(registered):
    kind = made("Mine")
    assert xpnet.register(kind) is kind
    assert registered["Mine"] is kind


def test_description_has_the_full_name_and_the_fields(registered):
    kind = xpnet.register(made("Mine", [("rate", float), ("inner", Any)]))
    part = kind(np.float32(0.5), (Linear(2, 3), xpnet.Adam(0.1)))
    found = json.loads(json.dumps(describe(part)))
    assert found["registered"] == "mypackage.layers:Mine"
    assert found["fields"]["rate"] == 0.5
    assert build(found) == part
    assert fits(part, found)
    assert not fits(kind(0.25, ()), found)


PARTS = [
    xpnet.Adam(0.1),
    xpnet.AdamW(weight_decay=0.5),
    xpnet.SGD(xpnet.schedules.warmup(2, xpnet.schedules.cosine(0.1, steps=10)), clip_norm=1.0),
    xpnet.losses.KINDS["huber_error"](0.5),
]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_optimizers_schedules_and_losses_of_the_library_are_described_and_built(part):
    found = json.loads(json.dumps(describe(part)))
    assert build(found) == part
    assert fits(part, found)


@pytest.mark.parametrize("kind", [5, len, "Linear", object, type("Plain", (Unparametrised,), {})])
def test_what_is_no_dataclass_is_refused(kind):
    with pytest.raises(TypeError, match=r"is not a dataclass; write `@dataclasses.dataclass\(frozen=True\)`"):
        xpnet.register(kind)


@pytest.mark.parametrize("name", ["Linear", "Sequential", "Residual", "Adam", "Conv2d", "Cosine"])
def test_name_of_the_library_is_refused(registered, name):
    with pytest.raises(ValueError, match=rf"`xpnet.{name}` exists already; choose another name for 'mypack"):
        xpnet.register(made(name))


def test_name_of_another_class_is_refused_unless_it_is_defined_again(registered):
    first, again = made("Mine"), made("Mine", [("rate", float), ("more", int)])
    xpnet.register(first)
    xpnet.register(again)
    assert registered["Mine"] is again
    for other in (made("Mine", module="other"), made("Mine", __qualname__="Outer.Mine")):
        with pytest.raises(ValueError, match=r"'mypackage.layers:Mine' is registered already; choose"):
            xpnet.register(other)
    assert registered["Mine"] is again


@pytest.mark.parametrize(
    "value", [np.ones(2), max, {1}, {"a": 1}, [1], float("nan"), float("inf"), 2**65, 1j, b"x", object()]
)
def test_field_that_is_no_json_is_refused_at_save_by_layer_and_field(registered, numpy_xp, tmp_path, value):
    kind = xpnet.register(made("Mine"))
    for field in (value, (1, (value,))):
        model = Sequential(kind(field), Linear(2, 1))
        with pytest.raises(TypeError, match=r"`rate` of Mine\(rate=.* is .*, which cannot be saved; use"):
            checkpoint.save(tmp_path / "model", numpy_xp, model, model.init(numpy_xp, 0), {})
    assert not (tmp_path / "model").exists()


def test_layer_in_a_field_that_is_not_registered_is_refused_at_save():
    with pytest.raises(TypeError, match=r"`layer` of Twice\(.* is Other\(\), which cannot be saved"):
        describe(Twice(made("Other", [])()))


def saved(xp, path, model):
    checkpoint.save(path, xp, model, model.init(xp, 0), {})


def test_class_that_is_not_registered_is_named_with_what_to_import(registered, numpy_xp, tmp_path):
    model = Sequential(xpnet.register(made("Mine"))(0.5), Linear(2, 1))
    saved(numpy_xp, tmp_path / "model", model)
    del registered["Mine"]
    message = (
        r"model' has a layer 'Mine', which is not registered; `mypackage.layers` defines it: import that, or "
        r"pass the model, as in `xpnet.load\(path, model=model\)`$"
    )
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "model", numpy_xp)
    assert checkpoint.load(tmp_path / "model", numpy_xp, model)[0] is model
    registered["Mine"] = made("Mine", module="another")
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "model", numpy_xp)


def test_file_of_a_script_is_loaded_where_the_script_is_imported(registered, numpy_xp, tmp_path):
    first = xpnet.register(made("Mine", module="__main__"))
    saved(numpy_xp, tmp_path / "model", Sequential(first(0.5), Linear(2, 1)))
    del registered["Mine"]
    with pytest.raises(ValueError, match=r"a script or a notebook defined it: run that, or pass the model"):
        checkpoint.load(tmp_path / "model", numpy_xp)
    imported = xpnet.register(made("Mine", module="script"))
    model = Sequential(imported(0.5), Linear(2, 1))
    assert checkpoint.load(tmp_path / "model", numpy_xp)[0] == model
    assert checkpoint.load(tmp_path / "model", numpy_xp, model)[0] is model


def test_file_from_before_the_class_was_registered_is_loaded_with_the_model(registered, numpy_xp, tmp_path):
    kind = made("Mine")
    model = Sequential(kind(0.5), Sequential(kind(0.25)), Linear(2, 1))
    saved(numpy_xp, tmp_path / "model", model)
    xpnet.register(kind)
    assert checkpoint.load(tmp_path / "model", numpy_xp, model)[0] is model
    other = Sequential(kind(0.5), Sequential(kind(0.5)), Linear(2, 1))
    with pytest.raises(ValueError, match="`model` is not the one of"):
        checkpoint.load(tmp_path / "model", numpy_xp, other)


def test_loading_imports_nothing(tmp_path, numpy_xp):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "harmful.py").write_text("raise SystemExit('imported')")
    code = textwrap.dedent("""
        import dataclasses, sys, xpnet
        from xpnet.layer import Unparametrised
        kind = dataclasses.make_dataclass("Mine", [], bases=(Unparametrised,), frozen=True)
        kind.__module__ = "harmful"
        if sys.argv[1] == "save":
            model = xpnet.Sequential(xpnet.register(kind)(), xpnet.Linear(2, 1))
            xp = xpnet.backend("numpy")
            xpnet.checkpoint.save("model", xp, model, model.init(xp, 0), {})
        else:
            try:
                xpnet.load("model", xpnet.backend("numpy"))
            except ValueError as e:
                print(e)
    """)
    for what in ("save", "load"):
        command = [sys.executable, "-c", code, what]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path / "lib")}
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "`harmful` defines it: import that" in done.stdout


@dataclasses.dataclass(frozen=True)
class Plain:
    """A loss of a class that is no `Loss`."""

    def function(self, xp, outputs, targets):
        return logistic(xp, outputs, targets)


def test_registered_loss_is_saved_and_loaded(registered, backend, dataset, tmp_path):
    model = Sequential(Linear(12, 3))
    xpnet.register(Plain)
    for loss in (Logistic(0.5), Plain()):
        run = xpnet.fit(backend, model, dataset, optimizer=xpnet.SGD(0.1), epochs=1, loss=loss)
        run.save(tmp_path / "model")
        loaded = xpnet.load(tmp_path / "model", backend)
        assert repr(loaded.loss) == repr(run.loss)
        assert loaded.evaluate(dataset) == run.evaluate(dataset)


def test_loss_that_is_not_registered_is_named(registered, numpy_xp, dataset, tmp_path):
    model = Sequential(Linear(12, 3))
    options = {"optimizer": xpnet.SGD(0.1), "epochs": 1}
    xpnet.fit(numpy_xp, model, dataset, loss=Logistic(), **options).save(tmp_path / "model")
    xpnet.fit(numpy_xp, model, dataset, loss=logistic, **options).save(tmp_path / "other")
    del registered["Logistic"]
    expected = "has a loss 'Logistic', which is not registered; `parts_of_ones_own` defines it: import that$"
    with pytest.raises(ValueError, match=expected):
        xpnet.load(tmp_path / "model", numpy_xp)
    expected = (
        "has a loss 'logistic', whose class is not from xpnet; register its class with `xpnet.register`"
    )
    with pytest.raises(ValueError, match=expected):
        xpnet.load(tmp_path / "other", numpy_xp)


def make_trainer(xp, model, dataset, **options):
    scaling = xpnet.batches.Scaling()
    problem = Problem(model, xpnet.losses.LOSSES["softmax_cross_entropy"], scaling, "float64")
    options = {"optimizer": xpnet.SGD(0.1), "batch_size": 32, "seed": 0} | options
    return Trainer(xp, problem, model.init(xp, 0, dtype="float64"), dataset, **options)


def reached(xp, model, dataset, **options):
    """Return how often a rehearsal calls the layers of a model."""
    trainer = make_trainer(xp, model, dataset, **options)
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequential, "train", lambda *args, **kwargs: calls.append(1) or train(*args, **kwargs))
        trainer.rehearse()
    return len(calls)


train = Sequential.train


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_training_with_frozen_registered_layers_is_rehearsed(registered, name, dataset):
    xp = xpnet.backend(name)
    for model in MODELS.values():
        assert reached(xp, model, dataset) > 0
    kind = made("Mine", __call__=Noisy.__call__)
    model = Sequential(Scaled(12), kind(0.5), Linear(12, 3))
    assert reached(xp, model, dataset) == 0
    xpnet.register(kind)
    assert reached(xp, model, dataset) > 0
    changeable = xpnet.register(made("Changeable", frozen=False, __call__=Noisy.__call__))
    assert reached(xp, Sequential(changeable(0.5), Linear(12, 3)), dataset) == 0


def test_rehearsal_does_not_change_a_training(dataset):
    xp = xpnet.backend("numpy")
    for model in MODELS.values():
        trainers = [make_trainer(xp, model, dataset) for _ in range(2)]
        trainers[0].rehearse()
        order = np.arange(90, dtype=np.int32)
        for trainer in trainers:
            for _ in range(3):
                trainer.epoch(order)
        for a, b in zip(*(trainer.params.values() for trainer in trainers), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_layers_that_say_so_are_given_no_random_numbers(registered, dataset):
    xp = xpnet.backend("numpy")
    quiet, silent = (
        xpnet.register(made(name, draws=False, __call__=Noisy.__call__)) for name in ("Quiet", "Silent")
    )
    registered.pop("Silent")
    found = [
        make_trainer(xp, Sequential(layer, Linear(12, 3)), dataset)._next_step
        for layer in (quiet(0.5), silent(0.5), Noisy(), Centred(12), xpnet.ReLU())
    ]
    assert found == [None, 1, 1, None, None]
