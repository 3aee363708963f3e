"""A picture of a study: efficiency and speed-up over the number of ranks, measured and modelled."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping
from typing import Any

from xpnet_bench.distributed.listing import modelled, unmeasured
from xpnet_bench.distributed.prediction import PAYS, RANKS
from xpnet_bench.distributed.results import family_of, prediction_of, whole_batches

# Okabe and Ito's colours, which the colour-blind can tell apart, and dashes for print without colour.
_LOOKS = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_GREY, _DOTS = "#555555", (0, (1, 2))
_WIDTH, _HEIGHT = 10.0, 4.4
# Of the title, which has this width.
_COLUMNS = 115
# One more line has the batch a rank over this.
_PART = 8


def curves(figure: Any, found: Mapping[str, Any]) -> None:
    """Draw weak and strong scaling of each backend on 1 to 512 ranks.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        With constrained layout, as `xpnet.plots.drawn` makes it.
    found : mapping
        As `xpnet_bench.distributed.results.read` returns it.
    """
    backends = found["backends"]
    figure.set_size_inches(_WIDTH, 0.9 + _HEIGHT * len(backends))
    rows = figure.subplots(len(backends), 2, squeeze=False)
    for (left, right), backend in zip(rows, backends, strict=True):
        _weak(left, found, backend)
        _strong(right, found, backend)
        for axes in (left, right):
            axes.set(xscale="log", xlim=(0.9, 1.1 * RANKS[-1]), xlabel="ranks")
            axes.set_xticks(RANKS, map(str, RANKS))
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            # Below, where no line can cross it.
            axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16))
    figure.suptitle(_title(found), fontsize=10, x=0.01, ha="left", linespacing=1.4)


def _weak(axes: Any, found: Mapping[str, Any], backend: Mapping[str, Any]) -> None:
    """Draw efficiency: each rank has the same number of rows, however many ranks there are."""
    batch, title = found["workload"]["batch_size"], found["workload"]["title"]
    family = sorted(family_of(backend), key=lambda network: network.name != title)  # that one comes first
    lines = [(network, batch) for network in family]
    lines[1:1] = [(network, -(-batch // _PART)) for network in family[:1]]
    for (network, rows), (colour, style) in zip(lines, _LOOKS, strict=False):
        if (model := prediction_of(found, backend, network)) is not None:
            shares = [100 * model.efficiency(network.work(rows), n) for n in RANKS]
            axes.plot(RANKS, shares, style, color=colour, label=f"{network.name}, {rows:,} rows a rank")
    axes.axhline(100 * PAYS, color=_GREY, linewidth=0.8, linestyle=_DOTS, label=f"{PAYS:.0%}")
    _measured(axes, found, backend, "weak")
    axes.set_ylim(0, 109)
    axes.set_ylabel("efficiency, %")
    axes.set_title(
        f"{backend['name']}: the batch grows with the ranks (weak scaling)", fontsize=9, loc="left"
    )


def _strong(axes: Any, found: Mapping[str, Any], backend: Mapping[str, Any]) -> None:
    """Draw speed-up: ranks divide the rows of one batch."""
    title = found["workload"]["title"]
    axes.plot(RANKS, RANKS, color=_GREY, linewidth=0.8, linestyle=_DOTS, label="as many times as ranks")
    network = next((each for each in family_of(backend) if each.name == title), None)
    model = None if network is None else prediction_of(found, backend, network)
    if model is not None and network is not None:
        batches = whole_batches(found["workload"]["batch_size"])
        for batch, (colour, style) in zip(batches, _LOOKS, strict=False):
            ranks = [n for n in RANKS if n <= batch]
            axes.plot(
                ranks,
                [model.speed_up(network.work, batch, n) for n in ranks],
                style,
                color=colour,
                label=f"{network.name}, batch of {batch:,}",
            )
    _measured(axes, found, backend, "strong")
    axes.set(yscale="log", ylim=(0.5, 1.3 * RANKS[-1]))
    ticks = RANKS[::2]
    axes.set_yticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_ylabel("times as fast as one rank")
    axes.set_title(f"{backend['name']}: ranks divide one batch (strong scaling)", fontsize=9, loc="left")


def _measured(axes: Any, found: Mapping[str, Any], backend: Mapping[str, Any], case: str) -> None:
    """Mark what was measured: the median, and a line from the slowest to the fastest round."""
    if case not in backend["steps"]:
        return
    times = 100 if case == "weak" else 1
    alone = statistics.median(backend["steps"]["alone"])
    found_rounds = [times * alone / seconds for seconds in backend["steps"][case]]
    ranks = found["machine"]["ranks"]
    axes.plot([ranks, ranks], [min(found_rounds), max(found_rounds)], color="black", linewidth=1, zorder=3)
    axes.plot(
        [ranks],
        [times * alone / statistics.median(backend["steps"][case])],
        "o",
        color="black",
        markersize=6,
        zorder=4,
        label=f"measured: {found['workload']['title']}, batch of {found['workload']['batch_size']:,}"
        + (" a rank" if case == "weak" else ""),
    )


def _title(found: Mapping[str, Any]) -> str:
    about = found["machine"]
    lines = [
        f"Points: measured on {about['ranks']} ranks of {about['processor']}, threads a rank: "
        f"{about['threads']}; {found['date'][:10]}",
        f"Lines: {(modelled(found) or 'no model').replace('Modelled:', 'a model of')}",
        *unmeasured(found),
    ]
    return "\n".join(textwrap.fill(line, _COLUMNS) for line in lines)
