"""Pictures of results: a bar for each competitor, and how time grows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

COLOURS = {"xpnet": "#0072B2", "peer": "#BBBBBB", "limit": "#E69F00"}
# Okabe and Ito's colours and unlike markers, for lines that must be told apart in print as well.
_LINES = (("#0072B2", "o-"), ("#D55E00", "s--"), ("#009E73", "^-."), ("#CC79A7", "D:"))


def bars(figure: Any, found: dict[str, Any]) -> None:
    """Draw the median epoch of each competitor as a bar, the spread as a line on it."""
    results = found["results"]
    figure.set_size_inches(8.0, 1.4 + 0.42 * len(results))
    axes = figure.subplots()
    places = range(len(results))
    axes.barh(places, [r["median"] for r in results], color=[COLOURS[r["kind"]] for r in results], zorder=2)
    for place, r in zip(places, results, strict=True):
        low, high = min(r["seconds"]), max(r["seconds"])
        axes.plot([low, high], [place, place], color="black", linewidth=1.2, zorder=3)
        axes.annotate(
            f"{r['median']:.3f} s, ratio {r['ratio_to_first']:.2f}",
            (max(high, r["median"]), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set(yticks=list(places), yticklabels=[r["name"] for r in results], xlabel="seconds an epoch, median")
    axes.set_xlim(0, 1.35 * max(max(r["seconds"]) for r in results))
    axes.invert_yaxis()
    sizes = "-".join(map(str, found["workload"]["sizes"]))
    machine = found["machine"]
    axes.set_title(
        f"MNIST epoch of {found['workload']['limit'] or 60000} images, {sizes}, "
        f"batch {found['workload']['batch_size']}, float32\n"
        f"{machine['processor']}, {machine['threads']} threads",
        fontsize=10,
    )
    axes.grid(axis="x", alpha=0.3)


def growth(figure: Any, sweeps: Mapping[str, Any]) -> None:
    """Draw time against batch size, width and number of samples, and mark where backends cross.

    Parameters
    ----------
    sweeps : mapping
        From a quantity's name to ``{"unit": ..., "values": [...], "seconds": {backend: [...]}}``.
    """
    figure.set_size_inches(4.2 * len(sweeps), 4.2)
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
