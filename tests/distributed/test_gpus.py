"""Groups of processes on GPUs; without one, `test_cupy_on_host` tests as much as can be."""

import json

import on_gpus
import pytest
from ranks import run_ranks

import xpnet

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpus():
    """Return how many GPUs there are; skip with the backend's own reason if there is none, or no NCCL."""
    try:
        xpnet.backend("cupy")
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))
    import cupy

    from xpnet_cupy import sums

    if not sums._nccl().available:
        pytest.skip("NCCL is not installed; install the extra `nccl13` or `nccl12`")
    return cupy.cuda.runtime.getDeviceCount()


@pytest.fixture(scope="module", params=[1, 2])
def found(request, gpus):
    """Return what rank 0 of a training found."""
    if request.param > gpus:
        pytest.skip(f"needs {request.param} GPUs, and there is {gpus}")
    done = run_ranks(request.param, on_gpus.__file__, "cupy", timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_training_by_nccl_equals_that_of_one_process(found):
    assert found["off by"] < 1e-6
    assert found["losses off by"] < 1e-9
    assert found["same on all ranks"]


def test_a_step_with_its_sum_is_one_graph(found):
    assert found["report"] == ""
    assert found["captured"] == [True, True]
    assert found["captures"] == [2, 2]  # once in the rehearsal, which leaves sums out
    assert all(tasks.count("all_reduce") == 1 for tasks in found["tasks"])


def test_two_ranks_on_one_gpu_are_refused_with_one_line(gpus):
    done = run_ranks(2, "-m", "xpnet", "train", "--distributed", "--backend", "cupy:0", "--epochs", "1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("xpnet: ranks 0 and 1 of 2 have the same GPU, ")
