"""How long ranks take to sum a vector over all of them, and one of them to add two of its own."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet_bench.distributed import least_squares
from xpnet_bench.distributed.link import Link, fitted_link, relative_errors

SIZES = tuple(4 * 2**k for k in range(24))
"""Bytes of the vectors: from one number to 32 MB, unless the gradient is larger."""
_LEAST, _MOST = 7, 51
# Below this, a measured sum is mostly the call.
_LEAST_SUM = 4096


def sizes_for(gradient_bytes: int, *, quick: bool) -> list[int]:
    """Return sizes to measure, up to beyond the gradient's; with `quick`, every fourth."""
    sizes = list(SIZES)
    while sizes[-1] < gradient_bytes:
        sizes.append(2 * sizes[-1])
    if quick:
        sizes = [n for n in sizes if n < 2 * gradient_bytes + 4][::-4][::-1]
    return sizes


def measured_exchange(xp: Any, group: Any, sizes: Sequence[int], *, budget: float) -> dict[str, Any]:
    """Return the seconds of allreduces and of sums at each size, and the `Link` fitted to them.

    Parameters
    ----------
    xp : Namespace
    group : xpnet.distributed.MPIGroup
        If it has one rank, there are no allreduces and no link.
    sizes : sequence of int
        In bytes.
    budget : float
        Seconds for each size, about.
    """
    slowest = functools.partial(_slowest, group, wait=xp.synchronize, budget=budget)
    seconds = [] if group.size == 1 else [slowest(_reducing(xp, group, n)) for n in sizes]
    sums = [] if xp.device_kind == "gpu" else [slowest(_adding(n)) for n in sizes]
    gamma = _gamma(sizes, sums)
    found = {"bytes": list(sizes), "seconds": seconds, "sum_seconds": sums, "gamma": gamma, "fitted": None}
    if not seconds:
        return found
    medians = [statistics.median(each) for each in seconds]
    link = fitted_link(sizes, medians, ranks=group.size, gamma=gamma)
    errors = relative_errors(link, sizes, medians, ranks=group.size)
    return found | {"fitted": {**link._asdict(), "relative_errors": errors}}


def _reducing(xp: Any, group: Any, size: int) -> Callable[[], object]:
    all_reduce = xp.with_group(group).nn.all_reduce
    x = xp.zeros((size // 4,), dtype=xp.float32)
    return lambda: all_reduce(x)


def _gamma(sizes: Sequence[int], sums: Sequence[Sequence[float]]) -> float:
    """Return the seconds per byte of sums; 0 if they were not measured, so that they are part of beta."""
    rows = [(n, statistics.median(own)) for n, own in zip(sizes, sums, strict=False) if n >= _LEAST_SUM]
    if not rows:
        return 0.0
    (gamma,), _ = least_squares.fitted([[n] for n, _ in rows], [seconds for _, seconds in rows])
    return gamma


def link_of(found: dict[str, Any]) -> Link:
    """Return a link that was described in a results file."""
    return Link(found["alpha"], found["beta"], found["gamma"])


def _adding(size: int) -> Callable[[], object]:
    x, y = (np.zeros(size // 4, dtype=np.float32) for _ in range(2))
    return lambda: np.add(x, y, out=x)


def _slowest(
    group: Any, call: Callable[[], object], *, wait: Callable[[], object], budget: float
) -> list[float]:
    """Return the seconds of the slowest rank for each of several calls, which all ranks begin together."""

    def timed() -> float:
        group.wait()
        start = time.perf_counter()
        call()
        wait()
        return time.perf_counter() - start

    first = max(group.gather(max(timed(), timed())))  # to warm up, too
    count = max(_LEAST, min(_MOST, int(budget / max(first, 1e-9))))
    own = [timed() for _ in range(count)]
    return [max(times) for times in zip(*group.gather(own), strict=True)]
