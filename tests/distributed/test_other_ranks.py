"""A training goes on with another number of processes, and with one."""

import sys

import numpy as np
import pytest
import trainings
from ranks import run_ranks

import xpnet

pytest.importorskip("mpi4py")

OPTIONS = {"optimizer": xpnet.Adam(0.01), "validation": 0.2}
CODE = """
import sys
import test_other_ranks
test_other_ranks.continued(sys.argv[1], int(sys.argv[2]), test_other_ranks.xpnet.distributed.mpi())
"""


def continued(folder, epochs, group=None):
    """Return the run of a training with checkpoints in a folder, which goes on from the newest one."""
    options = {"epochs": epochs, "checkpoint": folder, "resume": True}
    return trainings.trained("numpy", trainings.BASE | OPTIONS | options, group)


def test_a_training_goes_on_with_another_number_of_ranks(tmp_path):
    env = {"PYTHONPATH": ":".join(sys.path)}
    for epochs, ranks in enumerate((2, 3, 1), start=1):
        done = run_ranks(ranks, "-c", CODE, tmp_path, epochs, env=env)
        assert done.returncode == 0, done.stderr
    run = continued(tmp_path, 4)
    whole = trainings.trained("numpy", trainings.BASE | OPTIONS | {"epochs": 4})
    assert run.resumed.startswith("epoch 3")
    for name, p in whole.params.items():
        np.testing.assert_allclose(run.params[name], p, rtol=0, atol=1e-5)
    np.testing.assert_allclose(trainings.figures(run), trainings.figures(whole), rtol=1e-5)
