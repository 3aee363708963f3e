"""Reprs say what a thing is, on one short line."""

import dataclasses
import pickle

import numpy as np
import pytest

import xpnet
from xpnet import Epoch, Linear, ReLU, Residual, Run, Sequential
from xpnet.batches import Scaling
from xpnet.layer import Unparametrised

MOST = 500


@dataclasses.dataclass(frozen=True)
class Scaled(Unparametrised):
    """A layer of one's own with options of all kinds."""

    factors: object
    name: str = "plain"
    tags: dict = dataclasses.field(default_factory=dict)
    power: int = dataclasses.field(default=1, kw_only=True)

    def __call__(self, xp, params, x, *, stream=None):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Named(Unparametrised):
    n: int = 3

    def __repr__(self):
        return f"<{self.n} names>"


class Plain(Unparametrised):
    def __repr__(self):
        return "Plain" + 1000 * "\nand plainer"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Sequential(ReLU()), "Sequential(ReLU())"),
        (xpnet.mlp(784, 64, 10), "Sequential(Linear(784, 64), Sigmoid(), Linear(64, 10))"),
        (xpnet.mlp(4, 2, initializer="normal"), "Sequential(Linear(4, 2, initializer='normal'))"),
        (Residual(Linear(3, 3), xpnet.BatchNorm(3)), "Residual(Linear(3, 3), BatchNorm(3))"),
        (
            Sequential(Linear(3, 3), Residual(Sequential(xpnet.Dropout(0.5)))),
            "Sequential(Linear(3, 3), Residual(Sequential(Dropout(0.5))))",
        ),
        (Sequential(xpnet.MaxPool2d()), "Sequential(MaxPool2d())"),
        (Sequential(xpnet.LeakyReLU(0.2)), "Sequential(LeakyReLU(slope=0.2))"),
        (Sequential(Scaled(2)), "Sequential(Scaled(2))"),
        (Sequential(Scaled(2, tags={"a": 1}, power=2)), "Sequential(Scaled(2, tags={'a': 1}, power=2))"),
        (Sequential(Named()), "Sequential(<3 names>)"),
    ],
)
def test_model_is_written_as_the_call_that_makes_it(model, text):
    assert repr(model) == text


def test_written_model_makes_the_same_model():
    model = Sequential(xpnet.Conv2d(2, 3, 5, padding="valid"), Residual(xpnet.MaxPool2d(3, 1, "same")))
    assert eval(repr(model), vars(xpnet)) == model


def doubled(levels):
    model = ReLU()
    for _ in range(levels):
        model = Sequential(model, model)
    return model


def nested(levels):
    model = ReLU()
    for _ in range(levels):
        model = Sequential(model)
    return model


@pytest.mark.parametrize(
    "model",
    [
        Sequential(*[Linear(3, 3)] * 1000),
        doubled(90),
        nested(100),
        Sequential(Scaled(np.arange(1e6).reshape(1000, 1000), "name" * 1000)),
        Sequential(*[Plain()] * 3),
    ],
    ids=["long", "doubled", "deep", "arrays", "own repr"],
)
def test_large_model_is_one_short_line(model):
    text = repr(model)
    assert len(text) < MOST
    assert text.isprintable()


def test_layers_left_out_are_counted():
    text = repr(Sequential(*[ReLU()] * 1000))
    assert text.startswith("Sequential(ReLU(), ReLU(), ")
    assert text.endswith(f", ... {1000 - text.count('ReLU')} more)")


EPOCH = Epoch(1, 0.51234, 0.6, 0.97581, 0.1)


@pytest.mark.parametrize(
    ("model", "history", "text"),
    [
        (xpnet.mlp(784, 64, 10), [EPOCH] * 9, "784-64-10 on numpy, 9 epochs, test accuracy 97.58%"),
        (
            Sequential(Linear(4, 3), xpnet.BatchNorm(3), Linear(3, 2)),
            [dataclasses.replace(EPOCH, test_accuracy=None)],
            "4-3-2 on numpy, 1 epoch, test loss 0.6000",
        ),
        (xpnet.mlp(4, 2), [Epoch(1, 0.51234, None, None, 0.1)], "4-2 on numpy, 1 epoch, train loss 0.5123"),
        (xpnet.lenet5(), [], "13 layers on numpy, 0 epochs"),
        (Sequential(Sequential(Linear(4, 2))), [], "1 layer on numpy, 0 epochs"),
        (Sequential(*[Linear(4, 4)] * 99), [], "99 layers on numpy, 0 epochs"),
    ],
)
def test_run_says_what_was_trained_where_and_how_well(numpy_xp, model, history, text):
    run = Run(numpy_xp, model, model.init(numpy_xp, 0), "", Scaling(1.0, 0.0), "", history)
    assert repr(run) == f"<xpnet.Run of {text}>"
    assert repr(pickle.loads(pickle.dumps(run))) == repr(run)


def test_namespace_and_its_functions_are_named(numpy_xp):
    assert repr(numpy_xp) == "<xpnet.Namespace 'numpy' on cpu>"
    assert repr(numpy_xp.nn) == "<functions of xpnet.nn on 'numpy'>"
