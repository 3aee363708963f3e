"""Plots of results: a bar for each competitor, and how time grows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from xpnet_bench.results import milliseconds, title, two_digits

COLOURS = {"xpnet": "#0072B2", "peer": "#BBBBBB", "limit": "#E69F00"}
# Okabe and Ito's colours and different markers, so that lines can be told apart in print as well.
_LINES = (("#0072B2", "o-"), ("#D55E00", "s--"), ("#009E73", "^-."), ("#CC79A7", "D:"))


def bars(figure: Any, found: dict[str, Any]) -> None:
    """Draw the median epoch of each competitor as a bar, the fastest first, its spread as a line."""
    ordered = sorted(found["results"], key=lambda r: r["median"])
    figure.set_size_inches(8.0, 1.6 + 0.42 * len(ordered))
    axes = figure.subplots()
    places = range(len(ordered))
    times = [milliseconds(r["median"]) for r in ordered]
    axes.barh(
        places, [1e3 * r["median"] for r in ordered], color=[COLOURS[r["kind"]] for r in ordered], zorder=2
    )
    for place, r, time in zip(places, ordered, times, strict=True):
        low, high = 1e3 * min(r["seconds"]), 1e3 * max(r["seconds"])
        axes.plot([low, high], [place, place], color="black", linewidth=1.2, zorder=3)
        axes.annotate(
            f"{time} ms, ratio {two_digits(r['ratio_to_first'])}",
            (high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set(yticks=list(places), yticklabels=[r["name"] for r in ordered])
    axes.set(xscale="log", xlabel="milliseconds per epoch, median (logarithmic)")
    axes.xaxis.set_major_formatter("{x:,g}")
    least = 1e3 * min(min(r["seconds"]) for r in ordered)
    most = 1e3 * max(max(r["seconds"]) for r in ordered)
    # Bars on a logarithmic axis need a start: half of the shortest time. The text on the right needs room.
    axes.set_xlim(least / 2, most * (most / least * 2) ** 0.4)
    axes.invert_yaxis()
    axes.set_title(_title(found), fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def _title(found: dict[str, Any]) -> str:
    images = found["workload"]["limit"] or 60000
    return f"MNIST epoch of {images:,} images, {title(found)}, float32\n{_machine(found)}"


def _machine(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    gpu = f"{machine['gpu']}, driver {machine['driver']}\n" if "gpu" in machine else ""
    return f"{gpu}{machine['processor']}, {machine['threads']} threads"


def growth(figure: Any, found: Mapping[str, Any]) -> None:
    """Draw time against batch size, width and number of samples, and mark where backends cross.

    Parameters
    ----------
    found : mapping
        Has ``"sweeps"``, which maps a quantity's name to
        ``{"unit": ..., "values": [...], "seconds": {backend: [...]}}``.
    """
    sweeps = found["sweeps"]
    figure.set_size_inches(4.2 * len(sweeps), 4.5)
    figure.suptitle(_machine(found), fontsize=10)
    for axes, (quantity, sweep) in zip(
        figure.subplots(1, len(sweeps), squeeze=False)[0], sweeps.items(), strict=True
    ):
        lines = zip(sweep["seconds"].items(), _LINES, strict=False)
        for (backend, seconds), (colour, style) in lines:
            axes.plot(sweep["values"], seconds, style, color=colour, markersize=4, label=backend)
        for x, y in crossovers(sweep["values"], list(sweep["seconds"].values())):
            axes.plot([x], [y], "x", color="black", markersize=10, markeredgewidth=2)
            axes.annotate(f"{x:.0f}", (x, y), xytext=(6, -12), textcoords="offset points")
        axes.set(xscale="log", yscale="log", xlabel=quantity, ylabel=sweep["unit"])
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False)


def crossovers(values: list[float], curves: list[list[float]]) -> list[tuple[float, float]]:
    """Return where two curves cross, interpolated on logarithmic axes."""
    found = []
    for one, other in itertools.combinations(curves, 2):
        gaps = [math.log(a / b) for a, b in zip(one, other, strict=True)]
        for i, (before, after) in enumerate(itertools.pairwise(gaps)):
            if before * after < 0:
                share = before / (before - after)
                x = values[i] * (values[i + 1] / values[i]) ** share
                found.append((x, one[i] * (one[i + 1] / one[i]) ** share))
    return found
