"""How time grows with batch size, width and number of samples, for several backends in turns."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import xpnet
from xpnet_bench.rounds import Entry, laps
from xpnet_bench.workload import Workload

BATCHES = (32, 128, 512, 2048, 8192)
WIDTHS = (64, 256, 1024, 4096)
SAMPLES = (1000, 4000, 16000, 60000)


def sweeps(
    backends: Sequence[str], *, rounds: int, threads: int, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Return the median seconds of each backend at each size.

    A step is timed as a share of an epoch over 8192 images, so it includes gathering the batch.
    """
    base = Workload()
    plans = {
        "batch size": (
            "seconds per step",
            [(b, dataclasses.replace(base, batch_size=b, limit=8192)) for b in BATCHES],
        ),
        "hidden units": (
            "seconds per step of 128",
            [(w, dataclasses.replace(base, model=xpnet.mlp(784, w, 10), limit=1024)) for w in WIDTHS],
        ),
        "images": ("seconds per epoch", [(n, dataclasses.replace(base, limit=n)) for n in SAMPLES]),
    }
    found: dict[str, Any] = {}
    for quantity, (unit, plan) in plans.items():
        seconds: dict[str, list[float]] = {backend: [] for backend in backends}
        for value, workload in plan:
            say(f"{quantity} {value}")
            steps = -(-(workload.limit or 0) // workload.batch_size) if "step" in unit else 1
            entries = [Entry("xpnet", backend) for backend in backends]
            for backend, times in laps(entries, workload, rounds=rounds, threads=threads).items():
                seconds[backend].append(statistics.median(times) / steps)
        found[quantity] = {"unit": unit, "values": [value for value, _ in plan], "seconds": seconds}
    return found
