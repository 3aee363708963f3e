"""Options of `xpnet train` for schedules, regularisation, validation, weights and saved models."""

import json

import numpy as np
import pytest
from test_cli import run

import xpnet
from xpnet import schedules

SMALL = "--limit", 1000, "--hidden", 8, "--seed", 3


def results(tmp_path, *options, **environment):
    path = tmp_path / "run.json"
    output = run("train", *SMALL, *options, "--json", path, **environment)
    return output, json.loads(path.read_text())


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("step", schedules.Step(4, every=6)),
        ("cosine", schedules.Cosine(4, steps=16)),
        ("warmup", schedules.Warmup(2, schedules.Constant(4))),
        ("one_cycle", schedules.OneCycle(4, steps=16)),
    ],
)
def test_schedule_spans_all_steps(tmp_path, name, schedule):
    output, found = results(tmp_path, "--epochs", 2, "--schedule", name)
    assert f"Momentum(lr={schedule}" in output
    rates = [schedule(8), schedule(16)]
    assert [line.get("lr", 4.0) for line in found["history"]] == pytest.approx(rates)
    assert found["config"]["schedule"] == name


def test_schedule_counts_steps_without_the_validation_set(tmp_path):
    output, _ = results(tmp_path, "--epochs", 2, "--schedule", "cosine", "--validation", 0.3)
    assert "Cosine(lr=4.0, steps=12" in output
    assert "\n699 training, 301 validation and 10000 test images" in output


def test_options_train_as_fit_does(tmp_path, numpy_xp, mnist):
    options = "--epochs", 2, "--weight-decay", 0.01, "--clip-norm", 0.5, "--dropout", 0.25
    more = "--label-smoothing", 0.1, "--class-weight", "balanced", "--validation", 0.2, "--lr", 1
    _, found = results(tmp_path, *options, *more)
    train, test = mnist
    layers = xpnet.Linear(784, 8), xpnet.Sigmoid(), xpnet.Dropout(0.25), xpnet.Linear(8, 10)
    expected = xpnet.fit(
        numpy_xp,
        xpnet.Sequential(*layers),
        train[:1000],
        test=test,
        optimizer=xpnet.Momentum(1, weight_decay=0.01, clip_norm=0.5),
        loss=xpnet.losses.SoftmaxCrossEntropy(label_smoothing=0.1),
        epochs=2,
        seed=3,
        class_weight="balanced",
        validation=0.2,
    )
    for line, epoch in zip(found["history"], expected.history, strict=True):
        for name in ("train_loss", "validation_loss", "validation_accuracy", "test_loss"):
            assert line[name] == pytest.approx(getattr(epoch, name), rel=1e-4)
    config = {"weight_decay": 0.01, "clip_norm": 0.5, "dropout": 0.25, "class_weight": "balanced"}
    assert found["config"].items() >= config.items()


def test_weights_of_classes_have_numbers_or_names(tmp_path):
    (one, _), (other, _) = (results(tmp_path, "--epochs", 1, "--class-weight", w) for w in ("3=4", "3=4.0"))
    assert one.splitlines()[2].split("   ")[:3] == other.splitlines()[2].split("   ")[:3]
    assert "`class_weight` has 'cat', which is no class" in run(
        "train", *SMALL, "--class-weight", "cat=1", status=1
    )
    message = "must be a finite number, 0 or above, got -1.0"
    assert message in run("train", *SMALL, "--class-weight", "3=-1", status=1)


def test_patience_stops_and_keeps_the_best_parameters(tmp_path):
    model = tmp_path / "model"
    options = "--patience", 2, "--epochs", 60, "--lr", 12, "--save", model
    output, found = results(tmp_path, *options)
    history = found["history"]
    assert " 101 validation and " in output
    assert len(history) < 60
    losses = [line["validation_loss"] for line in history]
    best = int(np.argmin(losses))
    assert best == len(history) - 3
    test_loss = json.loads(_evaluation(tmp_path, model))["loss"]
    assert test_loss == pytest.approx(history[best]["test_loss"], rel=1e-5)


def _evaluation(tmp_path, model):
    run("evaluate", model, "--json", tmp_path / "evaluation.json")
    return (tmp_path / "evaluation.json").read_text()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_saved_model_is_trained_further(tmp_path, backend):
    model = tmp_path / "model"
    _, before = results(tmp_path, "--epochs", 2, "--save", model, XPNET_BACKEND=backend)
    path = tmp_path / "again.json"
    options = "--load", model, "--limit", 1000, "--epochs", 1, "--lr", 0.5, "--json", path
    output = run("train", *options, XPNET_BACKEND=backend)
    after = json.loads(path.read_text())
    assert f"the network of {model}, Momentum(lr=0.5, beta=0.9)" in output
    assert after["history"][0]["train_loss"] < before["history"][1]["train_loss"]
    assert after["config"]["load"] == str(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--schedule", "linear"),
            "'linear' is not one of 'constant', 'step', 'cosine', 'warmup', 'one_cycle'",
        ),
        (("--validation", "1"), "'1' is no share; pass a number above 0 and below 1, such as 0.1"),
        (("--validation", "few"), "'few' is no share"),
        (("--patience", "0"), "0 is not in the range x>=1"),
        (("--weight-decay", "-1"), "`weight_decay` must be a finite number, 0 or above, got -1.0"),
        (("--clip-norm", "0"), "`clip_norm` must be a finite number above 0, got 0.0"),
        (("--dropout", "1"), "`rate` must be in [0, 1), got 1.0"),
        (
            ("--dropout", "0.5", "--hidden", "none"),
            "`--dropout` follows hidden layers, and the network has none",
        ),
        (
            ("--class-weight", "much"),
            "'much' is no weight of a class; pass balanced, or weights as in 0=1,1=5",
        ),
        (("--label-smoothing", "1"), "`label_smoothing` must be in [0, 1), got 1.0"),
        (
            ("--label-smoothing", "0.1", "--loss", "squared_error"),
            "`--label-smoothing` is for cross-entropies, not for squared_error; leave it out",
        ),
        (("--load", "model", "--hidden", "8"), "`--hidden` is for a new network, but `--load` reads one"),
        (("--load", "model", "--model", "cnn"), "`--model` is for a new network, but `--load` reads one"),
    ],
)
def test_wrong_options_are_one_line(options, message):
    assert message in run("train", *options, status=2)


def test_model_that_is_not_there_is_one_line(tmp_path):
    assert "no model at " in run("train", "--load", tmp_path / "none", status=1)
