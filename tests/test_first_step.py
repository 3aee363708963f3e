"""The first step of a training is checked, whatever the layers are, without running anything twice."""

import dataclasses
import typing

import numpy as np
import pytest

import xpnet
from xpnet.checked import checked


@dataclasses.dataclass
class Own:
    """A user's layer that counts its calls; `wrong` makes it misuse a function of `nn`."""

    wrong: bool = False
    shapes: typing.ClassVar[dict] = {}
    calls: int = 0

    def init(self, xp, seed, *, dtype="float32"):
        return {}

    def __call__(self, xp, params, x, *, stream=None):
        self.calls += 1
        y = xp.nn.relu(x)
        return y, lambda dy, *, input_gradient=True: (
            xp.nn.relu_backward(y, dy[:1, ...] if self.wrong else dy),
            {},
        )


def train(xp, dataset, *layers, **options):
    model = xpnet.Sequential(*layers)
    options = {"optimizer": xpnet.Momentum(0.5), "epochs": 2, "batch_size": 32} | options
    return xpnet.fit(xp, model, dataset, **options)


@pytest.mark.parametrize("kind", [None, "identity", "traced"])
def test_misuse_in_a_users_layer_is_found_in_the_first_step(backend, dataset, kind):
    if kind == "identity":
        backend = xpnet.Namespace("mine", np)
    if kind == "traced":
        backend = xpnet.Namespace("mine", np, compile=lambda step: lambda *args: step(*args))
    own, before = Own(wrong=True), backend.nn
    with pytest.raises(
        ValueError, match=r"^nn\.relu_backward: `dy` has shape \(1, 8\), but must have \(32, 8\)"
    ):
        train(backend, dataset, xpnet.Linear(12, 8), own, xpnet.Linear(8, 3))
    assert own.calls == 1
    assert backend.nn is before


def test_kernel_that_returns_another_shape_is_found_in_the_first_step(dataset):
    xp = xpnet.Namespace("mine", np, fused={"linear": lambda x, weight, bias: (x @ weight + bias)[:1]})
    with pytest.raises(ValueError, match=r"^nn\.linear: the result has shape \(1, 8\)"):
        train(xp, dataset, xpnet.Linear(12, 8), xpnet.Linear(8, 3))


def test_checks_change_no_result(backend, dataset):
    layers = xpnet.Linear(12, 8), xpnet.ReLU(), xpnet.Linear(8, 3)
    plain, mine = xpnet.Namespace("plain", np), checked(xpnet.Namespace("plain", np))
    runs = [train(xp, dataset, *layers, test=dataset) for xp in (plain, mine)]
    for name, p in runs[0].params.items():
        np.testing.assert_array_equal(runs[1].params[name], p)
    run = train(checked(backend), dataset, *layers, test=dataset)
    assert run.report == "every call of `xp.nn` is checked, so the step runs as it is"
    assert run.history[-1].train_loss == pytest.approx(runs[0].history[-1].train_loss, rel=1e-4)
