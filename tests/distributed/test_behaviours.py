"""What `fit` does in a group of three processes: one test for each function of `behaviours`."""

import json

import behaviours
import pytest
from ranks import run_ranks

pytest.importorskip("mpi4py")


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """Return the tracebacks of each function, by rank."""
    folder = tmp_path_factory.mktemp("behaviours")
    done = run_ranks(3, behaviours.__file__, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "failed.json").read_text())


@pytest.mark.parametrize("name", behaviours.behaviours())
def test_a_group(failed, name):
    assert not failed[name], "\n".join(f"rank {rank}: {text}" for rank, text in failed[name].items())
