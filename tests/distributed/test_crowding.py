"""What `xpnet train` says of processes that have more threads than their machine has cores."""

import numpy
import pytest

import xpnet
from xpnet.cli.crowding import crowding
from xpnet.device import Device
from xpnet.distributed import ALONE

GPU = xpnet.Namespace("gpu", numpy, device=Device("cpu", kind="gpu"))


class Group:
    """A rank whose others gather these values; `own` is what it gathers itself."""

    is_split = True

    def __init__(self, *others):
        self.others = others

    def gather(self, value):
        self.own = value
        return [value, *self.others]


def test_ranks_on_gpus_gather_too_because_all_ranks_must():
    group = Group(None)
    assert crowding(group, GPU) == ""
    assert group.own is None


def test_ranks_on_gpus_do_not_count():
    cores = frozenset([0, 1])
    assert crowding(Group(("here", 1, cores), None, ("here", 1, cores)), GPU) == ""
    assert crowding(Group(("here", 2, cores), None, ("here", 1, cores)), GPU) == (
        "2 ranks on here have 3 threads for 2 cores, so they wait for each other; "
        "set OPENBLAS_NUM_THREADS=1 and NUMBA_NUM_THREADS=1"
    )


@pytest.mark.parametrize("xp", [xpnet.backend("numpy"), GPU], ids=["cpu", "gpu"])
def test_a_process_without_others_is_not_crowded(xp):
    assert crowding(ALONE, xp) == ""
