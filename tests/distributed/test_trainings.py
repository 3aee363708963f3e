"""A group of processes trains as one process does, up to rounding, and each time the same, bit for bit."""

import functools

import numpy as np
import pytest
import trainings
from ranks import run_ranks

pytest.importorskip("mpi4py")

NAMES = [*trainings.cases()]


@functools.cache
def alone(backend, name):
    return trainings.trained(backend, trainings.cases()[name])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a function that returns the folder with the trainings of so many ranks."""

    @functools.cache  # of failures too
    def started(ranks, number):
        folder = tmp_path_factory.mktemp(f"ranks{ranks}")
        return folder, run_ranks(ranks, trainings.__file__, folder, timeout=300)

    def folder_of(ranks, number=0):
        folder, done = started(ranks, number)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return folder_of


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_train_as_one_process(folders, ranks, backend, name):
    run, found = alone(backend, name), np.load(folders(ranks) / f"{backend} {name}.npz")
    for key, expected in run.params.items():
        tolerance = 1e-12 if expected.dtype == np.float64 else 2e-5
        np.testing.assert_allclose(found[f"param {key}"], run.xp.to_host(expected), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found["figures"], trainings.figures(run), rtol=1e-5)


@pytest.mark.parametrize("ranks", [2, 3])
def test_repeated_trainings_have_the_same_bytes(folders, ranks):
    first, second = folders(ranks), folders(ranks, 1)
    assert first != second
    files = sorted(path.name for path in first.iterdir())
    assert len(files) == 2 * len(NAMES)
    for file in files:
        a, b = np.load(first / file), np.load(second / file)
        assert all(a[key].tobytes() == b[key].tobytes() for key in a.files)
