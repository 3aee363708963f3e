"""The race: competitors in turns, A B C A B C, and the ratio to the first in each round.

A shared machine changes its speed from minute to minute, so single times mean little; two consecutive epochs
run at nearly the same speed, so their ratio is meaningful. Each competitor is idle before the next starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import xpnet
from xpnet_bench.errors import DishonestError, UnusableError
from xpnet_bench.learned import check_accuracies
from xpnet_bench.noise import ratio_interval, spread
from xpnet_bench.results import milliseconds, ratio
from xpnet_bench.workload import Workload

_ERRORS = {"UnusableError": UnusableError, "DishonestError": DishonestError}
# Variables that libraries read when they load, to choose their number of threads.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Otherwise JAX takes three quarters of a GPU's memory when it starts and leaves too little.
_ON_DEMAND = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def limited(threads: int) -> dict[str, str]:
    """Return a competitor's environment: its number of threads, and GPU memory allocated only as needed.

    Memory settings of the user take precedence.
    """
    return _ON_DEMAND | os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry of the race: a backend of xpnet, a peer, or a limit."""

    kind: str
    name: str


class Lane:
    """A competitor's own process.

    Raises
    ------
    UnusableError
        If the competitor cannot run here.
    """

    def __init__(self, entry: Entry, workload: Workload, threads: int) -> None:
        self.entry = entry
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            # -P, so that no file of the current folder shadows a module.
            [sys.executable, "-P", "-m", "xpnet_bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A file, because a pipe that nobody reads blocks a library that prints a lot.
            stderr=self._errors,
            text=True,
            env=limited(threads),
        )
        try:
            options = workload.about()
            self.about = self.ask(
                "prepare", kind=entry.kind, name=entry.name, workload=options, threads=threads
            )
        except BaseException:
            self.close()
            raise
        self.seconds: list[float] = []

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """Return the answer to a request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise UnusableError(f"{self.entry.name!r} ended without an answer: {last}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["text"])
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


class Raced(NamedTuple):
    """What a race found.

    Attributes
    ----------
    results : list of dict
        One for each competitor.
    skipped : list of str
        Why others did not run.
    blas : str
        NumPy's BLAS.
    samples : int
        The number of training examples.
    """

    results: list[dict[str, Any]]
    skipped: list[str]
    blas: str
    samples: int


def race(
    entries: Sequence[Entry],
    workload: Workload,
    *,
    rounds: int,
    threads: int,
    say: Callable[[str], object] = print,
) -> Raced:
    """Return a result for each competitor that can run here, and why the others cannot.

    Parameters
    ----------
    entries : sequence of Entry
        Ratios are relative to the first.
    workload : Workload
    rounds : int
        Epochs of each competitor; all train the same number of epochs.
    threads : int
        For every library that accepts a number of threads.
    say : callable
        Receives lines that report progress.

    Raises
    ------
    UnusableError
        If the first competitor cannot run, because there is nothing to compare with.
    DishonestError
        If a time does not cover the work.
    """
    with contextlib.ExitStack() as stack:
        lanes: list[Lane] = []
        skipped: list[str] = []
        for entry in entries:
            say(
                f"preparing {entry.name}" if entry.kind == "limit" else f"preparing {entry.kind} {entry.name}"
            )
            try:
                lane = Lane(entry, workload, threads)
            except UnusableError as e:
                if not lanes:
                    raise
                skipped.append(str(e))
                say(f"skipped: {e}")
                continue
            stack.callback(lane.close)
            lanes.append(lane)
        for number in range(1, rounds + 1):
            for lane in lanes:
                lane.seconds.append(lane.ask("epoch")["seconds"])
            say(
                f"round {number} of {rounds}: "
                + ", ".join(milliseconds(lane.seconds[-1]) for lane in lanes)
                + " ms"
            )
        results = [_result(lane, lanes[0]) for lane in lanes]
    check_accuracies(results, tests=lanes[0].about["tests"])
    _share_limits(results)
    return Raced(results, skipped, lanes[0].about["blas"], lanes[0].about["images"])


def laps(
    entries: Sequence[Entry], workload: Workload, *, rounds: int, threads: int
) -> dict[str, list[float]]:
    """Return the seconds of each competitor's epochs, in turns, by the names of the entries.

    Raises
    ------
    UnusableError
        If one cannot run.
    """
    with contextlib.ExitStack() as stack:
        lanes = []
        for entry in entries:
            lanes.append(Lane(entry, workload, threads))
            stack.callback(lanes[-1].close)
        for _ in range(rounds):
            for lane in lanes:
                lane.seconds.append(lane.ask("epoch")["seconds"])
        return {lane.entry.name: lane.seconds for lane in lanes}


def _share_limits(results: Sequence[dict[str, Any]]) -> None:
    """Give each result its share of the limit: the median time of products or copies over its own.

    The limit is that of its own library, else NumPy's; if a library has two, the slower one counts. With a
    GPU in the race it is not known where a peer ran, so peers get no share.
    """
    limits: dict[str, dict[str, Any]] = {}
    for result in results:
        known = limits.get(result["backend"])
        if result["kind"] == "limit" and (known is None or known["median"] < result["median"]):
            limits[result["backend"]] = result
    on_gpu = any(backend != "numpy" for backend in limits)
    for result in results:
        limit = limits.get(result["backend"], None if on_gpu else limits.get("numpy"))
        if limit is not None:
            result["share_of_limit"] = ratio(limit["seconds"], result["seconds"])


def _result(lane: Lane, first: Lane) -> dict[str, Any]:
    median = statistics.median(lane.seconds)
    ratios = [own / other for own, other in zip(lane.seconds, first.seconds, strict=True)]
    interval = ratio_interval(lane.seconds, first.seconds)
    finish = lane.ask("finish")
    return {
        "name": lane.about["name"],
        "backend": lane.about["backend"],
        "kind": lane.entry.kind,
        "device": lane.about["device"],
        "versions": lane.about["versions"],
        "seconds": lane.seconds,
        "median": median,
        "ratios": ratios,
        "ratio_to_first": ratio(lane.seconds, first.seconds),
        "ratio_interval": list(interval[:2]),
        "confidence": interval.confidence,
        "spread": spread(lane.seconds),
        "accuracy": finish["accuracy"],
        "loss": finish["loss"],
        "examples_per_second": lane.about["images"] / median,
        "prepare_seconds": lane.about["prepare_seconds"],
        "peak_rss_bytes": finish["peak_rss_bytes"],
        "imported_rss_bytes": lane.about["imported_rss_bytes"],
        "device_bytes": finish["device_bytes"],
        "host_seconds": finish["host_seconds"],
        "launches_per_step": finish["launches_per_step"],
        "share_of_limit": None,
    }


def default_threads() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_entries(backends: Sequence[str], peers: Sequence[str]) -> Iterator[Entry]:
    """Yield the entries of backends, peers and limits, the first backend first."""
    yield from (Entry("xpnet", name) for name in backends)
    yield from (Entry("peer", name) for name in peers)
    yield Entry("limit", "gemm on numpy")
    for name in filter(is_on_gpu, backends):
        yield Entry("limit", f"gemm on {name}")
        yield Entry("limit", f"bandwidth on {name}")


def is_on_gpu(backend: str) -> bool:
    """Return whether a backend, which must be usable, computes on a GPU."""
    return xpnet.backend(backend).device_kind == "gpu"
