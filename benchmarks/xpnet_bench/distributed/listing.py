"""Results of a study as text for a terminal, and as Markdown."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xpnet_bench.distributed.exchange import link_of
from xpnet_bench.distributed.link import allreduce
from xpnet_bench.distributed.prediction import PAYS
from xpnet_bench.distributed.results import ASKED, family_of, stand_in, whole_batches
from xpnet_bench.noise import Interval, ratio_interval
from xpnet_bench.results import aligned_rows, milliseconds

Rows = list[list[str]]


def listing(found: Mapping[str, Any]) -> str:
    """Return the results as text of 80 columns."""
    parts = [_wrapped(conditions(found)), *aligned_rows(steps(found)), ""]
    parts += [_wrapped(line) for line in efficiencies(found)]
    parts += ["", _wrapped(exchange(found)), *map(_wrapped, computing(found))]
    if asked := modelled(found):
        parts += ["", *map(_wrapped, [*unmeasured(found), f"{asked} {LEAST}"])]
        parts += ["", *aligned_rows(pays(found)), "", _wrapped(FASTEST), "", *aligned_rows(fastest(found))]
    else:
        parts += ["", _wrapped(_NO_MODEL)]
    return "\n".join(parts)


LEAST = f"Least batch a rank for an efficiency of {PAYS:.0%}, as a power of two:"
FASTEST = "Number of ranks that divide a batch in the least time, and how many times as fast as one they are:"
_NO_MODEL = (
    "One rank exchanges nothing, so there is no model of more. Start two with `mpiexec -n 2`, or describe "
    "the network with `--link '100 Gbit/s, 2 us'`."
)
_NAMES = {
    "alone": "one rank, {batch} rows",
    "beside": "side by side, {batch} rows",
    "weak": "weak: {batch} rows a rank",
    "beside share": "side by side, {share} rows",
    "strong": "strong: {batch} rows in all",
}


def conditions(found: Mapping[str, Any]) -> str:
    """Return one paragraph: what ran, and on what."""
    about, workload = found["machine"], found["workload"]
    return (
        f"{workload['data']}, {workload['title']}, float32; {_count(about['ranks'], 'rank')} on "
        f"{_count(about['machines'], 'machine')}, {_count(about['threads'], 'thread')} each."
    )


def steps(found: Mapping[str, Any]) -> Rows:
    """Return a table of the measured steps, with the model's predictions of those that no fit uses."""
    rows = [["ms per step", "backend", "median", "min to max", "predicted", "off by"]]
    batch = found["workload"]["batch_size"]
    share = -(-batch // found["machine"]["ranks"])
    for backend in found["backends"]:
        for case, name in _NAMES.items():
            if case in backend["steps"]:
                seconds = backend["steps"][case]
                name = name.format(batch=batch, share=share)
                times = [
                    milliseconds(time) for time in (statistics.median(seconds), min(seconds), max(seconds))
                ]
                cells = [name, backend["name"], times[0], f"{times[1]} to {times[2]}"]
                rows.append([*cells, *_predicted(backend, case)])
    return rows


def _predicted(backend: Mapping[str, Any], case: str) -> list[str]:
    seconds = backend["predicted"].get(case)
    if seconds is None:
        return ["", ""]
    return [milliseconds(seconds), f"{seconds / statistics.median(backend['steps'][case]) - 1:+.1%}"]


def efficiencies(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each backend and kind of scaling, measured and predicted."""
    ranks = found["machine"]["ranks"]
    for backend in found["backends"]:
        for case, kind, times in (("weak", "weak scaling", 1), ("strong", "strong scaling", ranks)):
            if case not in backend["predicted"]:
                continue
            own, spread = _efficiency(backend, case, times)
            expected = statistics.median(backend["steps"]["alone"]) / backend["predicted"][case] / times
            faster = f", {own * ranks:.2f} times as fast as one" if case == "strong" else ""
            sure = f"{spread.low:.1%} to {spread.high:.1%} with {spread.confidence:.0%} confidence"
            measured = f"{backend['name']}, {kind} on {ranks} ranks: efficiency {own:.1%} ({sure}){faster}"
            yield f"{measured}; predicted {expected:.1%}."


def _efficiency(backend: Mapping[str, Any], case: str, times: int) -> tuple[float, Interval]:
    """Return the time of one rank over so many times that of all of them, and the interval of the ratio."""
    alone, together = backend["steps"]["alone"], [times * each for each in backend["steps"][case]]
    return statistics.median(alone) / statistics.median(together), ratio_interval(alone, together)


def exchange(found: Mapping[str, Any]) -> str:
    """Return one paragraph: the cost of an allreduce, measured and fitted."""
    own = found["exchange"]
    if own["fitted"] is None:
        return "No allreduce was timed: there is one rank."
    link, ranks = link_of(own["fitted"]), found["machine"]["ranks"]
    errors = sorted(map(abs, own["fitted"]["relative_errors"]))
    size = 4 * found["workload"]["parameters"]
    sums = f", and adding one {1e9 * link.gamma:.3f} ns" if own["sum_seconds"] else " with its sum"
    return (
        f"An allreduce over {ranks} ranks, fitted to {own['bytes'][0]} bytes to "
        f"{_megabytes(own['bytes'][-1])}: a message takes alpha = {1e6 * link.alpha:.2f} us, a byte "
        f"beta = {1e9 * link.beta:.3f} ns{sums}. "
        f"The fit is off by {statistics.median(errors):.0%} at the median, {errors[-1]:.0%} at most. For the "
        f"gradient of {_megabytes(size)} it says {milliseconds(allreduce(link, ranks, size))} ms."
    )


def computing(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each backend: how well the model fits its steps, alone and side by side."""
    for backend in found["backends"]:
        fits = [each["relative_errors"] for each in backend["compute"]]
        errors = sorted(abs(error) for fit in fits for case in fit.values() for error in case)
        yield (
            f"The model of steps on {backend['name']}, fitted to each network by itself, is off by "
            f"{statistics.median(errors):.0%} at the median of {len(errors)} cases, {errors[-1]:.0%} at most."
        )


def modelled(found: Mapping[str, Any]) -> str | None:
    """Return which ranks the model is of; None if there is no model."""
    own, about = found["exchange"], found["machine"]
    if own["given"] is not None:
        return f"Modelled: ranks that are connected by {own['given']['text']}."
    if own["fitted"] is None:
        return None
    if about["machines"] == 1:
        return "Modelled: ranks that are all connected like these, within one machine."
    return f"Modelled: ranks that are all connected like these, on {about['machines']} machines."


def unmeasured(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each network of the model that was not measured: whose rates it takes."""
    backend = found["backends"][0]  # the networks of all backends are the same
    for network in family_of(backend):
        if (other := stand_in(backend, network)) is not None:
            yield (
                f"{network.name} was not measured: the model takes the rates of {other}, "
                "the nearest in the number of parameters."
            )


def pays(found: Mapping[str, Any]) -> Rows:
    """Return a table of the least batch a rank that pays, by network and number of ranks."""
    rows = [["rows a rank", "backend", *(f"{ranks} ranks" for ranks in ASKED)]]
    for backend in found["backends"]:
        for row in backend["pays"]:
            cells = [row["rows"][str(ranks)] for ranks in ASKED]
            rows.append(
                [row["network"], backend["name"], *("never" if c is None else f"{c:,}" for c in cells)]
            )
    return rows


def fastest(found: Mapping[str, Any]) -> Rows:
    """Return a table of the fastest number of ranks, by network and whole batch."""
    batches = whole_batches(found["workload"]["batch_size"])
    rows = [["ranks (times as fast)", "backend", *(f"batch {batch:,}" for batch in batches)]]
    for backend in found["backends"]:
        known = {(row["network"], row["batch"]): row for row in backend["fastest"]}
        for name in dict.fromkeys(row["network"] for row in backend["fastest"]):
            cells = [known[name, batch] for batch in batches]
            rows.append([name, backend["name"], *(f"{c['ranks']} ({c['speed_up']:.3g})" for c in cells)])
    return rows


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 80)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows of a table as Markdown."""
    lines = [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
