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
    """Return what a race says of its noise."""
    results = found["results"]
    first = results[0]
    itself = against_itself(first["seconds"])
    if itself is None:
        return ["noise: unknown after one round; take more `--rounds`"]
    worst = max(results, key=lambda r: spread(r["seconds"]))
    intervals = [(r["name"], ratio_interval(r["seconds"], first["seconds"])) for r in results[1:]]
    said = [
        f"noise: the slowest round took {spread(first['seconds']):.2f} times the fastest of {first['name']},",
        f"  and {spread(worst['seconds']):.2f} times of {worst['name']}, the noisiest;",
        f"  {first['name']} against itself, odd rounds to even ones: {itself:.2f}",
    ]
    if worst is first:
        said[1:2] = ["  the noisiest;"]
    if not intervals:
        return said
    equal = [name for name, interval in intervals if not interval.excludes_one]
    sure = intervals[0][1].confidence
    verdict = f"not to be told from {first['name']} with {100 * sure:.0f} % confidence: {', '.join(equal)}"
    none = f"all others differ from {first['name']} with {100 * sure:.0f} % confidence"
    return [*said, f"  {verdict if equal else none}"]
