"""Data-parallel training: several processes train one model, each on its rows of every batch.

    mpiexec -n 4 python train.py

    run = xpnet.fit(xp, model, train, ..., distributed=xpnet.distributed.mpi())

The processes of a group are its ranks, 0 to ``size - 1``. Each of them runs the same script.
"""

from xpnet.distributed.errors import DistributedError
from xpnet.distributed.group import ALONE, Group
from xpnet.distributed.mpi import mpi
from xpnet.distributed.shared import read_once

__all__ = ["ALONE", "DistributedError", "Group", "mpi", "read_once"]
