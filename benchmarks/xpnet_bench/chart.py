"""Plots of results: a bar for each competitor, and how time grows."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from xpnet_bench.results import data_name, milliseconds, samples, title

# Okabe and Ito's colours, which the colour-blind can tell apart; hatches are for print without colour.
COLOURS = {"xpnet": "#0072B2", "peer": "#B8B8B8", "limit": "#F0E442"}
_HATCHES = {"xpnet": "", "peer": "", "limit": "///"}
_MEANINGS = {"xpnet": "xpnet", "peer": "other libraries", "limit": "only the arithmetic or the copies"}
# Different markers, so that lines can be told apart in print as well.
_LINES = (("#0072B2", "o-"), ("#D55E00", "s--"), ("#009E73", "^-."), ("#CC79A7", "D:"))
# The longest bar over the shortest one from which the axis is logarithmic.
_LOGARITHMIC = 8.0
_INCHES = 8.0
# Below this, texts at bars take two lines.
_NARROW = 6.5
# What everybody knows comes first.
_REFERENCES = "PyTorch eager", "scikit-learn", "JAX scan"


def bars(figure: Any, found: dict[str, Any], *, reference: str | None = None, width: float = _INCHES) -> None:
    """Draw the median epoch of each competitor as a bar, the fastest first, with its slowest and fastest.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        With constrained layout, as `xpnet.plots.drawn` makes it.
    found : dict
        As `xpnet_bench.results.read` returns it.
    reference : str, optional
        The competitor that the others are compared with, by name. If omitted, PyTorch, else another peer,
        else the first competitor.
    width : float
        Of the figure, in inches.
    """
    ordered = sorted(found["results"], key=lambda r: r["median"])
    named = _reference(found["results"], reference)
    is_narrow = width < _NARROW
    figure.set_size_inches(width, 1.5 + (0.46 if is_narrow else 0.36) * len(ordered))
    axes = figure.subplots()
    for place, r in enumerate(ordered):
        _draw_bar(axes, place, r)
        label = ("\n" if is_narrow else ", ").join(_compared(r, named))
        # Beside the axes, where no bar is.
        axes.annotate(label, (1, place), (5, 0), **_BESIDE)
    _set_axes(axes, ordered)
    title = "\n".join(textwrap.fill(line, int(12 * width)) for line in _title(found).splitlines())
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", linespacing=1.4)
    _explain(figure, axes)


_BESIDE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": 8,
    "annotation_clip": False,
}


def _reference(results: Sequence[Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
    known = {r["name"]: r for r in results}
    if name is not None and name not in known:
        raise ValueError(f"no competitor is called {name!r}: choose one of {', '.join(known)}")
    peers = [r["name"] for r in results if r["kind"] == "peer"]
    first = next((each for each in _REFERENCES if each in known), None)
    return known[name or first or (peers or list(known))[0]]


def _draw_bar(axes: Any, place: int, r: Mapping[str, Any]) -> None:
    kind = r["kind"]
    look = {"color": COLOURS[kind], "hatch": _HATCHES[kind], "edgecolor": "#555555", "linewidth": 0}
    axes.barh(place, 1e3 * r["median"], height=0.7, label=_MEANINGS[kind], zorder=2, **look)
    ends = [1e3 * min(r["seconds"]), 1e3 * max(r["seconds"])]
    axes.plot(ends, [place, place], color="black", linewidth=1, marker="|", markersize=6, zorder=3)


def _set_axes(axes: Any, ordered: Sequence[Mapping[str, Any]]) -> None:
    axes.set_yticks(range(len(ordered)), [r["name"] for r in ordered])
    for label, r in zip(axes.get_yticklabels(), ordered, strict=True):
        label.set_fontweight("bold" if r["kind"] == "xpnet" else "normal")
    least = 1e3 * min(min(r["seconds"]) for r in ordered)
    most = 1e3 * max(max(r["seconds"]) for r in ordered)
    if most > _LOGARITHMIC * least:
        # Bars on a logarithmic axis need a start: half of the shortest time.
        axes.set(xscale="log", xlim=(least / 2, most * 1.1))
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel("milliseconds per epoch (logarithmic)", fontsize=9)
    else:
        axes.set_xlim(0, most * 1.05)
        axes.set_xlabel("milliseconds per epoch", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _explain(figure: Any, axes: Any) -> None:
    """Say below the axes what colours and lines mean."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    kinds = [text for text in _MEANINGS.values() if text in once]
    figure.legend(
        [once[text] for text in kinds],
        kinds,
        title="bar: the median; line: from the fastest epoch to the slowest",
        loc="outside lower left",
        ncols=len(kinds),
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        alignment="left",
    )


def _compared(result: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    """Return the text at a bar: the time, and how it compares with the reference."""
    time = f"{milliseconds(result['median'])} ms"
    if result is named:
        return [time]
    times = named["median"] / result["median"]
    text = f"{_factor(times)} times as fast as" if times >= 1 else f"{_factor(1 / times)} times as long as"
    return [time, f"{text} {named['name']}"]


def _factor(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}" if value >= 1.05 else f"{value:.2f}"


def _title(found: dict[str, Any]) -> str:
    date = str(found.get("date", ""))[:10]
    return (
        f"One epoch of {data_name(found)}, {samples(found):,} samples, {title(found)}, float32\n"
        f"{_machine(found)}" + (f"; {date}" if date else "")
    )


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
