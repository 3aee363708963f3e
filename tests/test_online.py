"""Training on parts of the data, one after another."""

import copy
import pickle

import numpy as np
import pytest

import xpnet
from xpnet.batches import Scaling
from xpnet.losses import find_loss
from xpnet.online import Online
from xpnet.problem import Problem
from xpnet.run import new_run

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(60, 3))
DATA = xpnet.Dataset(INPUTS, (INPUTS.sum(axis=1) > 0).astype(int))
MODEL = xpnet.Sequential(xpnet.Linear(3, 5), xpnet.Dropout(0.2), xpnet.ReLU(), xpnet.Linear(5, 2))


def online(xp, optimizer=None):
    problem = Problem(MODEL, find_loss("softmax_cross_entropy"), Scaling(), "float64")
    run = new_run(xp, problem, DATA, optimizer or xpnet.Adam(0.01))
    run.params = MODEL.init(xp, 0, dtype="float64")
    return Online(run, problem, batch_size=8, seed=0)


def host(run):
    return [run.xp.to_host(p) for p in run.params.values()]


def same(one, other):
    # A step as written and its program may differ in the last bits.
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(host(one), host(other), strict=True))


@pytest.fixture(params=["numpy", "numba"])
def xp(request):
    return xpnet.backend(request.param)


def test_passes_over_the_same_data_are_the_epochs_of_fit(xp):
    training = online(xp)
    runs = [training(DATA) for _ in range(4)]
    fitted = xpnet.fit(
        xp,
        MODEL,
        DATA,
        optimizer=xpnet.Adam(0.01),
        epochs=4,
        batch_size=8,
        seed=0,
        dtype="float64",
        progress=False,
    )
    assert same(runs[-1], fitted)
    assert [epoch.epoch for epoch in runs[-1].history] == [1, 2, 3, 4]
    assert len(runs[0].history) == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copy_continues_from_the_same_point_independently(xp, copied):
    first, second = online(xp), online(xp)
    for training in (first, second):
        training(DATA[:20])
    twin = copied(first)
    first(DATA[20:40])
    for training in (twin, second):
        training(DATA[40:])
    assert same(twin.run, second.run)
    assert not same(first.run, second.run)


def test_later_passes_do_not_change_an_earlier_run(xp):
    training = online(xp)
    run = training(DATA)
    before = [np.array(p) for p in host(run)]
    training(DATA)
    assert all(np.array_equal(a, b) for a, b in zip(before, host(run), strict=True))


def test_training_is_as_before_after_one_that_diverged(xp):
    training, other = online(xp), online(xp)
    for each in (training, other):
        each(DATA)
    with pytest.raises(xpnet.TrainingDivergedError):
        training(xpnet.Dataset(np.sign(INPUTS) * 1.7e308, DATA.targets))
    assert same(training.run, other.run)
    assert same(training(DATA), other(DATA))
    assert np.isfinite(host(training.run)[0]).all()
