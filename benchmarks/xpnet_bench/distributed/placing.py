"""The processors of a rank: those of its machine, divided among its ranks."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from xpnet_bench.rounds import THREAD_VARIABLES, default_threads


class Place(NamedTuple):
    """Where ranks run.

    Attributes
    ----------
    threads : int
        Of each rank.
    machines : int
    """

    threads: int
    machines: int


def placed(comm: Any, threads: int | None) -> Place:
    """Give each rank processors of its own, and return how many threads it has; call it before computing.

    A launcher may have done that; then its ranks keep theirs.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    threads : int or None
        Of each rank; if omitted, one for each of its processors.

    Raises
    ------
    ValueError
        If there are fewer processors than threads.
    """
    from mpi4py import MPI

    near = comm.Split_type(MPI.COMM_TYPE_SHARED)
    machines = comm.allreduce(int(near.rank == 0))
    if hasattr(os, "sched_setaffinity"):
        all_own = near.allgather(sorted(os.sched_getaffinity(0)))
        if all(own == all_own[0] for own in all_own):
            os.sched_setaffinity(0, share(all_own[0], near.rank, near.size))
    count = default_threads() if hasattr(os, "sched_setaffinity") else max(1, default_threads() // near.size)
    if threads is not None and threads > count:
        raise ValueError(
            f"`--threads` is {threads}, but each of the {near.size} ranks of a machine has {count} "
            f"processor{'' if count == 1 else 's'}; ask for no more"
        )
    _limit(threads or count)
    return Place(threads or count, machines)


def share(processors: list[int], rank: int, ranks: int) -> list[int]:
    """Return the processors of one of several ranks; of more ranks than processors, some have the same."""
    first = rank * len(processors) // ranks
    return processors[first : max(first + 1, (rank + 1) * len(processors) // ranks)]


def _limit(threads: int) -> None:
    """Let libraries use so many threads: those that are loaded, and those that will be."""
    import threadpoolctl

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    threadpoolctl.threadpool_limits(threads)
