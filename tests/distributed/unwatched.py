"""Ranks of which one cannot connect to the watcher, or cannot listen to it; then all can."""

import socket
import sys
import threading

from mpi4py import MPI

from xpnet.distributed import DistributedError, mpi


def refuse(*_):
    raise OSError("no connection")


def no_thread(*_):
    raise RuntimeError("no thread")


rank = MPI.COMM_WORLD.rank
for broken in range(2):
    for owner, name, broken_one in (
        (socket.socket, "connect", refuse),
        (threading.Thread, "start", no_thread),
    ):
        kept = getattr(owner, name)
        if rank == broken:
            setattr(owner, name, broken_one)
        try:
            mpi()
        except DistributedError as e:
            if rank == 0:
                print(e)
        setattr(owner, name, kept)
texts = mpi().gather("watched")
if rank == 0:
    print(*texts)
sys.stdout.flush()
