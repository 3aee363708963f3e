"""A process that the others never join says so, and ends."""

import subprocess
import sys

import pytest
from ranks import mpiexec

pytest.importorskip("mpi4py")

WAITING = """
import xpnet
from xpnet.distributed import waiting
waiting.NOTICE, waiting.LIMIT = 0.5, 2.0
xpnet.distributed.mpi()
"""


def test_a_rank_that_the_others_never_join_ends_with_a_line():
    command = [mpiexec(), "-n", "1", sys.executable, "-c", WAITING, ":", "-n", "1", "sleep", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode != 0
    missing = "the other processes to call `xpnet.distributed.mpi`"
    lines = [line for line in done.stderr.splitlines() if line.startswith("xpnet")]
    assert lines == [
        f"xpnet: waiting for {missing}",
        f"xpnet: rank 0 of 2 waited 2.0 s for {missing}; all are stopped",
    ]
