"""Groups of processes that were started by MPI."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet.distributed.errors import DistributedError


def mpi(comm: Any = None, *, shard: bool = False) -> MPIGroup:
    """Return the group of all processes that ``mpiexec`` started.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        The processes that train together; if omitted, all of them.
    shard : bool
        Whether each process holds only its share of the training set on its device.
    """
    from mpi4py import MPI

    return MPIGroup(MPI.COMM_WORLD if comm is None else comm, holds_shares=shard)


class MPIGroup:
    """The processes of a communicator; see `xpnet.distributed.Group`.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        It is duplicated, so that nothing else that is sent over it is mixed up with this.
    holds_shares : bool
    """

    is_split = True

    def __init__(self, comm: Any, *, holds_shares: bool = False) -> None:
        from mpi4py import MPI

        self._in_place = MPI.IN_PLACE
        self.comm = comm.Dup()
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.holds_shares = holds_shares
        self.waited = 0.0
        self._of_all: BaseException | None = None  # an exception that all ranks have raised

    def sum(self, x: np.ndarray) -> None:
        """See `Group`."""
        start = time.perf_counter()
        self.comm.Allreduce(self._in_place, x)
        self.waited += time.perf_counter() - start

    def gather(self, value: Any) -> list[Any]:
        """See `Group`."""
        found: list[Any] = self.comm.allgather(value)
        return found

    def broadcast(self, value: Any) -> Any:
        """See `Group`."""
        return self.comm.bcast(value)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See `Group`."""
        error: Exception | None = None
        try:
            yield
        except Exception as e:
            error = e
        texts = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        failed = [rank for rank, text in enumerate(texts) if text is not None]
        if not failed:
            return
        if error is None:
            error = DistributedError(f"rank {failed[0]} of {self.size} failed: {texts[failed[0]]}")
        self._of_all = error
        raise error

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """See `Group`."""
        yield
