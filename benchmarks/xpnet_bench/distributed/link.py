"""What an allreduce costs: a latency and a time per byte of messages, and a time per byte of sums.

A message of n bytes takes ``alpha + n beta`` seconds (R. W. Hockney, "The communication challenge for MPP:
Intel Paragon and Meiko CS-2", Parallel Computing 20(3), 1994, 389-398). What the two usual algorithms of an
allreduce make of that is in R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective
communication operations in MPICH", International Journal of High Performance Computing Applications 19(1),
2005, 49-66.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from xpnet_bench.distributed import least_squares


class Link(NamedTuple):
    """A connection of ranks.

    Attributes
    ----------
    alpha : float
        Seconds that a message takes, however short it is.
    beta : float
        Seconds per byte of a message.
    gamma : float
        Seconds per byte that are added to others; 0 if `beta` includes them.
    """

    alpha: float
    beta: float
    gamma: float


def rounds_of(ranks: int) -> int:
    """Return how many times ranks must talk in pairs until each has heard of all: log2, rounded up."""
    return (ranks - 1).bit_length()


def recursive_doubling(link: Link, ranks: int, size: int) -> float:
    """Return the seconds of an allreduce whose ranks exchange the whole vector, of `size` bytes, in pairs."""
    return rounds_of(ranks) * (link.alpha + size * (link.beta + link.gamma))


def rabenseifner(link: Link, ranks: int, size: int) -> float:
    """Return the seconds of a reduce-scatter of `size` bytes by halves, and an allgather."""
    share = (ranks - 1) / ranks
    return 2 * rounds_of(ranks) * link.alpha + share * size * (2 * link.beta + link.gamma)


def allreduce(link: Link, ranks: int, size: int) -> float:
    """Return the seconds of an allreduce of `size` bytes by the faster of the two; 0 for one rank."""
    return min(recursive_doubling(link, ranks, size), rabenseifner(link, ranks, size))


def fitted_link(sizes: Sequence[int], seconds: Sequence[float], *, ranks: int, gamma: float) -> Link:
    """Return the link that predicts measured allreduces best, by least squares of the relative errors.

    Parameters
    ----------
    sizes : sequence of int, shape (n,)
        In bytes, increasing.
    seconds : sequence of float, shape (n,)
    ranks : int
        At least 2.
    gamma : float
        Measured apart, because two ranks alone cannot tell it from `beta`.
    """
    times, share = rounds_of(ranks), (ranks - 1) / ranks

    def tried(change: int) -> Link:
        """Return the best link if the sizes from place `change` on are sent by Rabenseifner's algorithm."""
        short, long = sizes[:change], sizes[change:]
        terms = [[times, times * n] for n in short] + [[2 * times, 2 * share * n] for n in long]
        sums = [times * n * gamma for n in short] + [share * n * gamma for n in long]
        messages = [max(t - own, 0.01 * t) for t, own in zip(seconds, sums, strict=True)]
        (alpha, beta), _ = least_squares.fitted(terms, messages)
        return Link(alpha, beta, gamma)

    links = [tried(change) for change in range(len(sizes) + 1)]
    return min(links, key=lambda link: sum(e**2 for e in relative_errors(link, sizes, seconds, ranks=ranks)))


def relative_errors(link: Link, sizes: Sequence[int], seconds: Sequence[float], *, ranks: int) -> list[float]:
    """Return by how much a link's prediction is off at each size, as a share of the measured seconds."""
    return [allreduce(link, ranks, n) / t - 1 for n, t in zip(sizes, seconds, strict=True)]


_BITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12, "kb": 8e3, "mb": 8e6, "gb": 8e9, "tb": 8e12}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6, "ms": 1e-3}
_NUMBER = r"(\d+(?:\.\d+)?)\s*"
_RATE = re.compile(rf"{_NUMBER}({'|'.join(_BITS)})/s", re.IGNORECASE)
_LATENCY = re.compile(rf"{_NUMBER}({'|'.join(_SECONDS)})", re.IGNORECASE)


def parsed(text: str) -> tuple[float, float]:
    """Return alpha and beta of a network that is described as in ``100 Gbit/s, 2 us``; GB are bytes.

    Raises
    ------
    ValueError
        If the text does not have exactly a rate and a latency, both above 0.
    """
    parts = [part.strip() for part in text.split(",")]
    rates = [found for part in parts if (found := _RATE.fullmatch(part))]
    latencies = [found for part in parts if (found := _LATENCY.fullmatch(part))]
    if len(parts) == 2 and len(rates) == len(latencies) == 1:
        rate = float(rates[0][1]) * _BITS[rates[0][2].lower()]
        latency = float(latencies[0][1]) * _SECONDS[latencies[0][2].lower()]
        if rate > 0 and latency > 0:
            return latency, 8 / rate
    raise ValueError(f"{text[:60]!r} is no link; pass its rate and its latency as in '100 Gbit/s, 2 us'")
