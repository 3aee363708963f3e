"""Layers whose results depend on the rows of the whole batch give the ranks what they give one process."""

import functools

import numpy as np
import pytest
import rows
import trainings
from ranks import run_ranks

import xpnet

pytest.importorskip("mpi4py")

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
BACKENDS = pytest.mark.parametrize("backend", ["numpy", "numba"])
RANKS = pytest.mark.parametrize("ranks", [1, 2, 3, 4])
BATCHES = {name: (x, dy) for name, x, dy in rows.batches()}


@functools.cache
def alone(backend, name):
    run = trainings.trained(backend, rows.cases()[name])
    return {key: run.xp.to_host(p) for key, p in run.params.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return a function that returns what so many ranks found."""

    @functools.cache  # of failures too
    def started(ranks):
        folder = tmp_path_factory.mktemp(f"ranks{ranks}")
        return folder, run_ranks(ranks, rows.__file__, folder, timeout=300)

    def of(ranks):
        folder, done = started(ranks)
        assert done.returncode == 0, done.stderr[-3000:]
        return np.load(folder / "found.npz")

    return of


@BACKENDS
@RANKS
@pytest.mark.parametrize("name", [*BATCHES])
def test_synchronised_layer_is_that_of_the_whole_batch(found, ranks, backend, name):
    x, dy = BATCHES[name]
    made, level = found(ranks), float(name.split()[-1])
    # What rounding a mean of this size changes; a variance from squares around 0 would be all wrong.
    tolerance = TOLERANCE[x.dtype.name] + 8 * np.finfo(x.dtype).eps * level
    whole = x.astype("float64"), dy.astype("float64")
    expected = rows.trained_layer(xpnet.backend("numpy"), *whole, xpnet.BatchNorm(5))
    for key, value in zip(rows.NAMES, expected, strict=True):
        difference = np.abs(made[f"{backend} {name} {key}"] - value)
        assert np.max(difference) < tolerance * np.max(np.abs(value)), key


@BACKENDS
@RANKS
@pytest.mark.parametrize("name", [*rows.cases()])
def test_ranks_train_models_that_draw_and_normalise_as_one_process(found, ranks, backend, name):
    made = found(ranks)
    for key, expected in alone(backend, name).items():
        tolerance = TOLERANCE[expected.dtype.name]
        np.testing.assert_allclose(
            made[f"{backend} {name} {key}"], expected, rtol=tolerance, atol=tolerance, err_msg=key
        )
