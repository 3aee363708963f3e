"""How much of a difference between times noise explains.

The interval of a ratio is the one that belongs to the rank-sum test of Wilcoxon, Mann and Whitney: it goes
from a small to a large one of all quotients of two times, one of each competitor (L. E. Moses; see Hollander,
Wolfe and Chicken, "Nonparametric Statistical Methods", 3rd edition, 2014, section 4.3, here on logarithms).
Its confidence is exact for any distribution of times and for few rounds: with 5 rounds of each, the whole
range of quotients has 99.2 %. It supposes that rounds are independent; a machine that slows down for minutes
is not covered.
"""

from __future__ import annotations

import functools
import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WANTED = 0.99
"""The confidence of an interval, if there are enough rounds; else the highest that there can be."""


class Interval(NamedTuple):
    """Where a ratio is likely to be, and how sure that is, in [0, 1)."""

    low: float
    high: float
    confidence: float

    @property
    def excludes_one(self) -> bool:
        """Whether there is a difference."""
        return self.low > 1 or self.high < 1


def ratio_interval(seconds: Sequence[float], others: Sequence[float]) -> Interval:
    """Return the interval of how many times as long one competitor takes as another one."""
    quotients = sorted(own / other for own in seconds for other in others)
    n, m = len(seconds), len(others)
    total, outside, k = math.comb(n + m, n), _rankings(n, m, 0), 0
    while 1 - 2 * (more := outside + _rankings(n, m, k + 1)) / total >= WANTED:
        outside, k = more, k + 1
    return Interval(quotients[k], quotients[-1 - k], max(0.0, 1 - 2 * outside / total))


@functools.cache
def _rankings(n: int, m: int, u: int) -> int:
    """Return how many orders of `n` and `m` times have a Mann-Whitney statistic of `u`."""
    if u < 0 or n < 0 or m < 0:
        return 0
    if n == 0 or m == 0:
        return int(u == 0)
    return _rankings(n - 1, m, u - m) + _rankings(n, m - 1, u)


def spread(seconds: Sequence[float]) -> float:
    """Return how many times as long the slowest round took as the fastest one."""
    return max(seconds) / min(seconds)


def against_itself(seconds: Sequence[float]) -> float | None:
    """Return the ratio of the medians of odd and of even rounds, which would be 1 without noise."""
    if len(seconds) < 2:
        return None
    return statistics.median(seconds[::2]) / statistics.median(seconds[1::2])


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return what a race says of its noise, at most 80 characters a line."""
    return textwrap.wrap(_said(found["results"]), 80, subsequent_indent="  ")


def _said(results: Sequence[Mapping[str, Any]]) -> str:
    first, *others = results
    itself = against_itself(first["seconds"])
    if itself is None:
        return "noise: unknown after one round; take more `--rounds`"
    worst = max(results, key=lambda r: spread(r["seconds"]))
    name, factor = first["name"], spread(first["seconds"])
    noisiest = f", that of {worst['name']}, the noisiest, {spread(worst['seconds']):.2f} times"
    said = (
        f"noise: the slowest round of {name} took {factor:.2f} times as long as its fastest"
        f"{'' if worst is first else noisiest}; {name} against itself, odd rounds to even ones: {itself:.2f}."
    )
    if not others:
        return said
    intervals = {r["name"]: ratio_interval(r["seconds"], first["seconds"]) for r in others}
    equal = [name for name, interval in intervals.items() if not interval.excludes_one]
    sure = f"with {100 * min(interval.confidence for interval in intervals.values()):.0f} % confidence"
    if equal:
        return f"{said} Not told apart from {name} {sure}: {', '.join(equal)}."
    return f"{said} All others differ from {name} {sure}."
