"""A worker process for one competitor, which answers requests, one line of JSON at a time.

Started as ``python -m xpnet_bench.worker``. Each request is a line on standard input, each answer a line on
standard output; anything that libraries print goes to standard error instead.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet_bench.competitor import Competitor
from xpnet_bench.errors import DishonestError, DivergedError, UnusableError
from xpnet_bench.workload import described
from xpnet_numpy.blas import blas_advice


def make_competitor(kind: str, name: str) -> Competitor:
    """Return a competitor; `name` is a backend's, a peer's, or a limit's, such as ``"gemm on numpy"``.

    Raises
    ------
    UnusableError
        If it cannot run here.
    """
    if kind == "peer":
        from xpnet_bench.peers import make_peer

        return make_peer(name)
    from xpnet_bench import ours

    if kind == "xpnet":
        return ours.Epochs(name)
    what, _, backend = name.partition(" on ")
    return ours.Products(backend) if what == "gemm" else ours.Copies(backend)


class Worker:
    """Carries out the requests: ``prepare``, ``epoch``, ``finish``."""

    def __init__(self) -> None:
        self._competitor: Any = None
        self._orders: Iterator[np.ndarray] = iter(())

    def prepare(self, kind: str, name: str, workload: dict[str, Any], threads: int) -> dict[str, Any]:
        """Prepare the competitor and return its description."""
        if hasattr(os, "sched_setaffinity"):
            # JAX has no variable for its threads; it counts the processors that it may use.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        self._competitor = make_competitor(kind, name)
        self._workload = what = described(workload)
        imported = _peak_rss()
        train, test = what.data()
        self._images = len(train)
        self._orders = what.orders(self._images)
        start = time.perf_counter()
        self._competitor.prepare(what)
        prepared = time.perf_counter() - start
        _rest()
        return {
            "name": self._competitor.name,
            "backend": self._competitor.backend,
            "versions": self._competitor.versions,
            "device": getattr(self._competitor, "device", "cpu"),
            "images": self._images,
            "tests": len(test),
            "prepare_seconds": prepared,
            "blas": blas_advice()[0].removeprefix("BLAS: "),
            "imported_rss_bytes": imported,
        }

    def epoch(self) -> dict[str, Any]:
        """Train one epoch and return how long it took."""
        order = next(self._orders)
        start = time.perf_counter()
        self._competitor.epoch(order)
        seconds = time.perf_counter() - start
        _rest()
        return {"seconds": seconds}

    def finish(self) -> dict[str, Any]:
        """Return how well it learned and the memory used."""
        outputs = self._competitor.outputs()
        peak = _peak_rss()
        loss, accuracy = (None, None) if outputs is None else self._score(outputs)
        device_bytes = getattr(self._competitor, "device_bytes", lambda: None)()
        host = getattr(self._competitor, "host_seconds", lambda: None)()
        launches = getattr(self._competitor, "launches", lambda: None)()
        return {
            "accuracy": accuracy,
            "loss": loss,
            "peak_rss_bytes": peak,
            "device_bytes": device_bytes,
            "host_seconds": host,
            "launches_per_step": launches,
        }

    def _score(self, outputs: np.ndarray) -> tuple[float, float | None]:
        if not np.isfinite(outputs).all():
            raise DivergedError(self._competitor.name)
        return self._workload.score(outputs, self._workload.data()[1])


def _rest() -> None:
    """Wait until this process is idle, for at most a second.

    The threads of OpenBLAS and of OpenMP spin for 0.1 s after their last work, on the processors that the
    next competitor needs: without this wait an epoch's products took 0.165 s, not 0.081, on 2 cores of an
    AMD EPYC.
    """
    deadline = time.perf_counter() + 1.0
    busy = True
    while busy and time.perf_counter() < deadline:
        before = time.process_time()
        time.sleep(0.02)
        busy = time.process_time() - before > 0.002


def _peak_rss() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    if platform.system() == "Linux":
        # Not ru_maxrss, which a process inherits from the one that started it.
        status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def main() -> None:
    """Answer requests until standard input ends."""
    # Answers keep the real standard output; anything that libraries print, in C too, goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except (UnusableError, DishonestError, DivergedError) as e:
            known = DishonestError if isinstance(e, DishonestError) else UnusableError
            answer = {"error": known.__name__, "text": str(e)}
        except Exception as e:
            answer = {"error": "UnusableError", "text": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
