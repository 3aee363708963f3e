"""What a group does, as seen by each rank: writes ``<folder>/<rank>.json``."""

import hashlib
import json
import pathlib
import sys

import numpy as np

from xpnet.distributed import mpi


class Unreadable(Exception):  # noqa: N818
    """An exception that cannot be pickled, and has no text either."""

    def __init__(self):
        super().__init__(lambda: None)

    def __str__(self):
        raise ZeroDivisionError


def caught(function):
    """Return the type and text of what a function raises."""
    try:
        function()
    except BaseException as e:
        return [type(e).__name__, "?" if isinstance(e, Unreadable) else str(e)]
    return None


def together(group, rank, error):
    with group.together():
        if group.rank == rank:
            raise error


def both(group):
    with group.guarded():
        together(group, 0, ValueError("of rank 0"))


def sums(group):
    """Return the digest of sums of many sizes, small and large."""
    found = hashlib.sha256()
    for size in (1, 7, 1000, 50_001, 300_000):
        for dtype in (np.float32, np.float64):
            x = np.random.default_rng([group.rank, size]).standard_normal(size).astype(dtype)
            group.sum(x)
            found.update(x.tobytes())
    return found.hexdigest()


def main(folder):
    first, second = mpi(), mpi(shard=True)
    last = first.size - 1
    total = np.full(3, first.rank + 1.0)
    first.sum(total)
    facts = {
        "rank": [first.rank, first.size, first.is_split],
        "shards": [first.holds_shares, second.holds_shares],
        "sum": total.tolist(),
        "waited": first.waited > 0,
        "sums": sums(second),
        "gathered": first.gather({"rank": first.rank, "large": "x" * 3_000_000})[last]["rank"],
        "broadcast": second.broadcast(("rank", second.rank, b"x" * 3_000_000))[1],
        "gather unpicklable": caught(lambda: first.gather(print if first.rank else (lambda: None))),
        "broadcast unpicklable": caught(lambda: first.broadcast(lambda: None)),
        "together": caught(lambda: together(first, last, ValueError("of\nthe last"))),
        "interrupted": caught(lambda: together(first, last, KeyboardInterrupt())),
        "exit": caught(lambda: together(first, last, SystemExit(3))),
        "unreadable": caught(lambda: together(first, last, Unreadable())),
        "nothing": caught(lambda: together(first, last + 1, ValueError())),
        "guarded together": caught(lambda: both(first)),
        "whole numbers": caught(lambda: first.sum(np.zeros(3, np.int64))),
        "columns": caught(lambda: first.sum(np.zeros((3, 4))[:, :2])),
        "read-only": caught(lambda: first.sum(np.broadcast_to(np.zeros(()), ()))),
        "no communicator": caught(lambda: mpi("world")),
    }
    # A part of the ranks, in the opposite order.
    half = mpi(first.comm.Split(first.rank % 2, -first.rank))
    facts["half"] = [half.rank, half.size, half.gather(first.rank)]
    pathlib.Path(folder, f"{first.rank}.json").write_text(json.dumps(facts))


main(sys.argv[1])
