"""Timings beyond an epoch of the default network: other steps, whole processes, large products."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xpnet
from xpnet_bench.errors import UnusableError
from xpnet_bench.rounds import Entry, laps, limited
from xpnet_bench.workload import Workload

STEPS = {
    "batch 32": Workload(batch_size=32, limit=8192),
    # At this learning rate, wide networks do not saturate; otherwise denormal numbers would be timed.
    "784-1024-1024-10, batch 256": Workload(
        xpnet.mlp(784, 1024, 1024, 10), xpnet.Momentum(0.1), batch_size=256, limit=4096
    ),
}
# Products so large that only a GPU's matrix rate counts; six full batches.
LARGE_NAME = "784-4096-4096-10, batch 8192"
LARGE = Workload(xpnet.mlp(784, 4096, 4096, 10), xpnet.Momentum(0.1), batch_size=8192, limit=6 * 8192)
_TRAINING = ("train", "--epochs", "1")


def comparisons(
    backends: Sequence[str],
    peers: Sequence[str],
    *,
    rounds: int,
    threads: int,
    steps: Mapping[str, Workload] = STEPS,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Return the seconds of each round, by competitor, of steps of several sizes and of whole processes.

    A step is timed as a share of an epoch. A whole process is ``xpnet train --epochs 1`` from start to end,
    with all caches on disk filled.

    Parameters
    ----------
    backends, peers : sequence of str
    rounds, threads : int
    steps : mapping of str to Workload
    say : callable
        Receives lines that report progress.

    Raises
    ------
    UnusableError
        If one cannot run.
    """
    entries = [*(Entry("xpnet", name) for name in backends), *(Entry("peer", name) for name in peers)]
    found: dict[str, Any] = {"steps": {}}
    for name, workload in steps.items():
        say(f"steps: {name}")
        batches = -(-(workload.limit or 0) // workload.batch_size)
        seconds = laps(entries, workload, rounds=rounds, threads=threads)
        found["steps"][name] = {key: [s / batches for s in values] for key, values in seconds.items()}
    say("whole processes")
    for backend in backends:
        _process_seconds(backend, threads)
    found["processes"] = {backend: [] for backend in backends}
    for _ in range(rounds):
        for backend in backends:
            found["processes"][backend].append(_process_seconds(backend, threads))
    return found


def shares(
    backends: Sequence[str], *, rounds: int, threads: int, workload: Workload = LARGE
) -> dict[str, list[float]]:
    """Return, by backend, its share of the matrix rate while it trains a large network, in each round.

    That is the time of the network's matrix products alone, in the backend's own library, divided by the time
    of its epochs, in turns.

    Parameters
    ----------
    backends : sequence of str
        A name that ends with ``" in TF32"`` means products in TF32, on both sides.
    rounds, threads : int
    workload : Workload

    Raises
    ------
    UnusableError
        If one cannot run.
    """
    found = {}
    for name in backends:
        entries = [Entry("xpnet", name), Entry("limit", f"gemm on {name}")]
        epochs, products = laps(entries, workload, rounds=rounds, threads=threads).values()
        found[name] = [limit / epoch for limit, epoch in zip(products, epochs, strict=True)]
    return found


def _process_seconds(backend: str, threads: int) -> float:
    command = [sys.executable, "-P", "-m", "xpnet", *_TRAINING, "--backend", backend]
    start = time.perf_counter()
    done = subprocess.run(command, env=limited(threads), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnusableError(f"`xpnet train` on {backend!r} ended with status {done.returncode}: {last}")
    return seconds
