"""Groups of processes that were started by MPI."""

from __future__ import annotations

import contextlib
import pickle
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet.distributed import library
from xpnet.distributed.errors import DistributedError, failure, of_all, rank_of_all
from xpnet.distributed.watch import CALLS, Calls, catch_uncaught, fail, watch


def mpi(comm: Any = None, *, shard: bool = False) -> MPIGroup:
    """Return the group of all processes that ``mpiexec`` started.

    All of them call it, in the same order, best before anything that may fail on one of them only. Each call
    returns a group of its own, which no other disturbs.

    - All ranks get the same bits of a sum. MPI requires that.
    - A sum has the same bits in each run with the same MPI library, the same number of ranks and the same
      placement of ranks on nodes. MPICH and Open MPI choose the order of additions by these, not by who comes
      first. Hardware that adds in a switch may not keep this.
    - A rank that dies ends all others within ten seconds, and one line of xpnet names it, by its number in
      ``MPI.COMM_WORLD``. A process on each node watches for that; it ends with the last rank. Where a
      launcher kills the ranks of other nodes, their watchers may print a line each; the first line names the
      cause.
    - An exception that one rank does not catch ends all ranks. So does one of a group that has only some of
      them, and a rank that exits while others of its node wait for it in a call of the group.
    - An exception that all ranks raise together is shown once, by rank 0.
    - A launcher may add lines of its own, such as MPICH's ``Abort(1) on node 0``.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        The processes that train together; if omitted, all of them. It is duplicated, so that messages of
        yours are not mixed up with those of `fit`.
    shard : bool
        Whether each process holds only its share of the training set on its device.

    Raises
    ------
    DistributedError
        If there is no mpi4py or no MPI library, if no launcher started the processes, if they have different
        MPI libraries, or if a rank cannot be watched.
    TypeError
        If `comm` is no intracommunicator of mpi4py.
    ValueError
        If `comm` is ``MPI.COMM_NULL``.
    """
    catch_uncaught()
    MPI = library.load()
    if comm is None:
        library.check_launch(MPI)
        comm = MPI.COMM_WORLD
    elif not isinstance(comm, MPI.Intracomm):
        raise TypeError(f"`comm` must be an mpi4py.MPI.Intracomm, got {comm!r}")
    elif comm == MPI.COMM_NULL:
        raise ValueError(
            "`comm` is MPI.COMM_NULL: this process is not in it; call `mpi` only in those that are"
        )
    library.check_versions(MPI, comm)
    watch(comm)
    return MPIGroup(comm, holds_shares=shard)


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
        self._calls = CALLS.setdefault(self.comm.bcast(uuid.uuid4().hex), Calls())

    def __repr__(self) -> str:
        return f"<xpnet.distributed.MPIGroup: rank {self.rank} of {self.size}>"

    def sum(self, x: np.ndarray) -> None:
        """See `Group`."""
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"`x` must be float32 or float64, got {x.dtype}")
        if not (x.flags.c_contiguous and x.flags.writeable):
            raise ValueError("`x` must be C-contiguous and writeable, because the sum takes its place")
        start = time.perf_counter()
        with self._calls:
            self.comm.Allreduce(self._in_place, x)
        self.waited += time.perf_counter() - start

    def gather(self, value: Any) -> list[Any]:
        """See `Group`."""
        # Pickled first: an error within a collective call would leave the other ranks waiting in it.
        data, error = _pickled(value)
        with self._calls:
            found = self.comm.allgather((data, None if error is None else failure(error)))
        self._raise_first([text for _, text in found], error)
        return [pickle.loads(data) for data, _ in found]

    def broadcast(self, value: Any) -> Any:
        """See `Group`."""
        data, error = (None, None) if self.rank else _pickled(value)
        with self._calls:
            data, text = self.comm.bcast((data, None if error is None else failure(error)))
        self._raise_first([text], error)
        return value if self.rank == 0 else pickle.loads(data)

    def wait(self, *, sleeps: bool = False) -> None:
        """See `Group`."""
        with self._calls:
            if not sleeps:
                self.comm.Barrier()
                return
            request = self.comm.Ibarrier()
            while not request.Test():
                time.sleep(1e-3)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See `Group`."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as e:
            error = e
        with self._calls:
            texts = self.comm.allgather(None if error is None else failure(error))
        self._raise_first(texts, error)

    def _raise_first(self, texts: list[str | None], error: BaseException | None) -> None:
        """Raise on all ranks what one of them has found: its own error, or one that names the first rank."""
        failed = [rank for rank, text in enumerate(texts) if text is not None]
        if not failed:
            return
        if error is None:
            rank = failed[0]
            error = DistributedError(f"rank {rank} of {self.size} failed: {texts[rank]}")
        raise of_all(error, self.rank, self.size)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """See `Group`."""
        try:
            yield
        except BaseException as e:
            if self.size > 1 and rank_of_all(e, self.size) is None:
                fail(e)
            raise


def _pickled(value: Any) -> tuple[bytes, None] | tuple[None, BaseException]:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL), None
    except Exception as e:
        return None, e
