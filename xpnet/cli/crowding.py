"""Whether the processes of ``xpnet train --distributed`` have more threads than their machines have cores."""

from __future__ import annotations

import os
import platform

from xpnet.distributed import Group
from xpnet.namespace import Namespace


def crowding(group: Group, xp: Namespace) -> str:
    """Return a sentence on the first machine whose ranks have more threads than it has cores; else "".

    Ranks that compute on a GPU do not count.
    """
    if not group.is_split:
        return ""
    # All ranks call this, whatever their devices: `gather` is collective.
    own = (platform.node(), _threads(xp), _cores()) if xp.device_kind == "cpu" else None
    found = [each for each in group.gather(own) if each is not None]
    for name in dict.fromkeys(node for node, *_ in found):
        ranks = [(threads, cores) for node, threads, cores in found if node == name]
        n, cores = len(ranks), len(set().union(*(own for _, own in ranks)))
        if n > cores:
            return f"{n} ranks on {name} share {cores} cores, so they wait for each other; start fewer there"
        threads, share = sum(own for own, _ in ranks), cores // n
        if threads > cores:
            return (
                f"{n} ranks on {name} have {threads} threads for {cores} cores, so they wait for each other; "
                f"set OPENBLAS_NUM_THREADS={share} and NUMBA_NUM_THREADS={share}"
            )
    return ""


def _threads(xp: Namespace) -> int:
    """Return how many threads compute at once in this process."""
    import threadpoolctl  # here, because only this needs it

    found = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if "numba" in xp.versions:
        given = os.environ.get("NUMBA_NUM_THREADS", "")
        found.append(int(given) if given.isdigit() else len(_cores()))
    return max([1, *found])


def _cores() -> frozenset[int]:
    """Return which processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
