"""A limit on how long a process waits for the others to begin MPI, which never ends by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from xpnet.distributed.launch import launched_rank, launched_size

NOTICE, LIMIT = 30.0, 300.0
"""Seconds after which rank 0 says what it waits for, and after which a rank ends itself."""

# A process of its own, because no Python of this one runs while it is in MPI_Init. It ends when its standard
# input does.
_PROGRAM = """
import os, select, signal, sys

parent, notice, limit, rank, size = sys.argv[1:]
missing = "the other processes to call `xpnet.distributed.mpi`"
if select.select([0], [], [], float(notice))[0]:
    sys.exit()
if rank == "0":
    os.write(2, f"xpnet: waiting for {missing}\\n".encode())
if not select.select([0], [], [], float(limit) - float(notice))[0]:
    os.write(2, f"xpnet: rank {rank} of {size} waited {limit} s for {missing}; all are stopped\\n".encode())
    os.kill(int(parent), signal.SIGKILL)
"""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Return a context that ends this process if it lasts too long, unless it was started alone."""
    rank, size = launched_rank(), launched_size() or 1
    if rank is None or size == 1:
        yield
        return
    options = map(str, (os.getpid(), NOTICE, LIMIT, rank, size))
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        yield
