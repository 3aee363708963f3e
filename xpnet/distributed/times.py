"""How long each process of a group took."""

from __future__ import annotations

import os
import platform
from typing import Any

from xpnet.distributed.group import Group
from xpnet.namespace import Namespace


def about_ranks(
    group: Group, xp: Namespace, seconds: list[float], waited: list[float | None]
) -> list[dict[str, Any]]:
    """Return what is known of each rank, as JSON.

    Parameters
    ----------
    group : Group
    xp : Namespace
    seconds : list of float
        Of each epoch, on this rank: what it took.
    waited : list of float or None
        What of that was spent in sums over the ranks, which includes waiting for the others. None if it is
        not known, as of sums that NCCL makes on GPUs.

    Returns
    -------
    ranks : list of dict
        In the order of the ranks: `rank`, `host`, `pid`, `device`, `seconds` and `waited`.
    """
    own = {
        "rank": group.rank,
        "host": platform.node(),
        "pid": os.getpid(),
        "device": xp.device_name(),
        "seconds": seconds,
        "waited": waited,
    }
    return group.gather(own)
