"""Compiled steps whose gradients are summed over a group of processes."""

import functools

import numpy
import pytest
from checking import assert_close, optimizers
from groups import Pretended
from steps import CONVOLUTIONS, FACTOR, PLAIN, make_images

import xpnet
from xpnet.batches import Scaling
from xpnet.distributed.trainer import DistributedTrainer
from xpnet.losses import LOSSES
from xpnet.problem import Problem

# A large `eps`, because Adam turns the sign of a gradient that rounds to 0 into a whole step.
OPTIMIZERS = [
    *optimizers(0.02, times=10, beta=0.8, eps=1e-3),
    xpnet.Adam(0.01, eps=1e-3, clip_norm=0.1),
    xpnet.Momentum(xpnet.schedules.Cosine(0.05, steps=20), clip_norm=0.1),
    xpnet.SGD(xpnet.schedules.Cosine(0.05, steps=20), weight_decay=0.01),
]
# Where each backend asks which gradients can be made in the flat array.
PLANS = {"numpy": "numpy.program", "numba": "numba.sum_rules"}
LINEAR = xpnet.mlp(30, 17, 5)
MODELS = {
    "linear": LINEAR,
    "one layer": xpnet.Sequential(xpnet.Linear(30, 5)),
    "normalised": xpnet.Sequential(
        xpnet.Linear(30, 17), xpnet.BatchNorm(17), xpnet.ReLU(), xpnet.Dropout(0.2), xpnet.Linear(17, 5)
    ),
    "images": xpnet.Sequential(CONVOLUTIONS, xpnet.Linear(3, 5)),
}


def train(xp, model, optimizer, *, dtype="float64", epochs=2):
    """Return a trainer of a group that has taken some steps, and the group."""
    n_in = 156 if model is MODELS["images"] else 30
    data = xpnet.Dataset(make_images("sparse", (37, n_in)), numpy.arange(37) % 5)
    group = Pretended(2)
    params = {name: xp.asarray(p, copy=True) for name, p in model.init(PLAIN, 3, dtype=dtype).items()}
    problem = Problem(model, LOSSES["softmax_cross_entropy"], Scaling(1 / 255), dtype)
    trainer = DistributedTrainer(
        xp, problem, params, data, group=group, optimizer=optimizer, batch_size=16, seed=3
    )
    trainer.rehearse()
    assert group.sums == []
    stream = xpnet.Stream(0, "shuffle")
    for _ in range(epochs):
        trainer.epoch(stream.permutation(37))
    return trainer, group


def assert_same_training(found, expected, assert_same):
    for name, p in expected.params.items():
        assert_same(found.params[name], p)
    (flat,), (other,) = found._kept, expected._kept
    assert_same(flat, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_step_stays_compiled_and_sums_once(replaying, optimizer, dtype):
    trainer, group = train(replaying, LINEAR, optimizer, dtype=dtype)
    assert trainer.compiled.report == ""
    size = sum(p.size for p in trainer.params.values())
    assert group.sums == [(size,)] * 6
    expected, _ = train(PLAIN, LINEAR, optimizer, dtype=dtype)
    alike = functools.partial(assert_close, PLAIN, dtype=dtype, factor=FACTOR)
    assert_same_training(trainer, expected, alike)


@pytest.mark.parametrize("name", MODELS)
def test_step_of_any_model_stays_compiled(replaying, name):
    trainer, _ = train(replaying, MODELS[name], xpnet.Momentum(0.02))
    assert trainer.compiled.report == ""
    expected, _ = train(PLAIN, MODELS[name], xpnet.Momentum(0.02))
    alike = functools.partial(assert_close, PLAIN, factor=FACTOR)
    assert_same_training(trainer, expected, alike)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_gradients_made_in_the_flat_array_have_the_bits_of_copied_ones(
    replaying, optimizer, dtype, monkeypatch
):
    found, _ = train(replaying, LINEAR, optimizer, dtype=dtype)
    monkeypatch.setattr(f"xpnet_{PLANS[replaying.name]}.places", lambda trace: {})
    expected, _ = train(replaying, LINEAR, optimizer, dtype=dtype)
    assert expected.compiled.report == ""
    assert_same_training(found, expected, numpy.testing.assert_array_equal)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_any_model_have_the_bits_of_copied_ones(replaying, name, monkeypatch):
    found, _ = train(replaying, MODELS[name], xpnet.Adam(0.01))
    monkeypatch.setattr(f"xpnet_{PLANS[replaying.name]}.places", lambda trace: {})
    expected, _ = train(replaying, MODELS[name], xpnet.Adam(0.01))
    assert_same_training(found, expected, numpy.testing.assert_array_equal)


def test_sum_leaves_the_threads_of_a_team_to_numba():
    pytest.importorskip("numba", reason="numba is not installed")
    trainer, _ = train(xpnet.backend("numba"), LINEAR, xpnet.Momentum(0.02))
    assert [program._helped for program in trainer.compiled.made.programs] == [True, True]
