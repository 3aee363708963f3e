"""Results files: what ran, where, when, and the figures; `schema.json` describes them."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import xpnet
from xpnet.errors import fitted
from xpnet.files import from_json, to_read
from xpnet_bench import noise, schema
from xpnet_bench.machine import machine
from xpnet_bench.networks import title as title_of
from xpnet_bench.schema import SCHEMA as SCHEMA
from xpnet_bench.workload import Workload

SCHEMA_VERSION = 2
_READABLE = 1, 2


def document(raced: Any, workload: Workload, *, threads: int) -> dict[str, Any]:
    """Return a whole results file as a dict, given what `xpnet_bench.rounds.race` returned."""
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(threads, raced.blas),
        "versions": {"xpnet": xpnet.__version__, "python": platform.python_version()},
        "workload": {**workload.listed(), "samples": raced.samples, "dtype": "float32"},
        "results": list(raced.results),
        "skipped": list(raced.skipped),
    }


def read(path: str | bytes | os.PathLike[Any]) -> dict[str, Any]:
    """Return the results file at `path`.

    Raises
    ------
    OSError
        If it cannot be read or is not a file: a folder, a pipe or a device.
    ValueError
        If it is not a results file, or has another version of the schema.
    """
    named = repr(os.fsdecode(path))
    found = _parsed(path, named)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if version not in _READABLE or isinstance(version, bool) or not isinstance(version, int):
        template = (
            f"{{path}} has version {{version}} of the schema, but this reads 1 and {SCHEMA_VERSION}; "
            "run `xpnet bench --json` again"
            if version is not None
            else "{path} is no race; pass a file that `xpnet bench --json` wrote"
        )
        raise ValueError(fitted(template, version=repr(version), path=named))
    missing = [key for key in ("machine", "versions", "workload", "results") if key not in found]
    fault = schema.fault(found)
    wrong = f"has no {missing[0]!r}" if missing else f"is damaged: {fault}"
    if missing or fault is not None:
        template = "{path} {wrong}; pass a file that `xpnet bench --json` wrote"
        raise ValueError(fitted(template, wrong=wrong, path=named))
    return dict(found)


def _parsed(path: str | bytes | os.PathLike[Any], named: str) -> Any:
    try:
        return from_json(pathlib.Path(to_read(path)).read_text(encoding="utf-8"))
    except OSError as e:
        template = "cannot read {path}: {reason}; pass a file that `xpnet bench --json` wrote"
        raise type(e)(fitted(template, path=named, reason=e.strerror or e)) from e
    except ValueError as e:
        template = "{path} is not a results file ({reason}); pass one that `xpnet bench --json` wrote"
        raise ValueError(fitted(template, reason=e, path=named)) from e


# The head of each column of a table, and the text of its cell, from a result and the first result.
_COLUMNS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "competitor": lambda r, first: r["name"],
    "ms per epoch": lambda r, first: milliseconds(r["median"]),
    "min to max": lambda r, first: f"{milliseconds(min(r['seconds']))} to {milliseconds(max(r['seconds']))}",
    "ratio": lambda r, first: two_digits(ratio(r["seconds"], first["seconds"])),
    "images per second": lambda r, first: f"{r['examples_per_second']:,.0f}",
    "gemm / epoch": lambda r, first: _percent(None if r["kind"] == "limit" else r["share_of_limit"], 0),
    "test accuracy": lambda r, first: _percent(r["accuracy"], 2),
    "test loss": lambda r, first: "" if r.get("loss") is None else f"{r['loss']:.4g}",
    "memory beyond imports": lambda r, first: (
        f"{(r['peak_rss_bytes'] - r['imported_rss_bytes']) / 1e6:.0f} MB"
    ),
}
# The columns that fit into 80 characters, with shorter heads.
_SHORT = {
    "competitor": "competitor",
    "ms per epoch": "ms",
    "min to max": "min to max",
    "ratio": "ratio",
    "gemm / epoch": "gemm",
    "test accuracy": "accuracy",
    "test loss": "loss",
    "memory beyond imports": "memory",
}
_FIGURES = """\
ms: the median epoch, in turns; ratio: to the median of the first.
gemm: the time of the dense matrix products alone, in BLAS, over the median.
"""
NOTES = f"""\
{_FIGURES}\
Above 100 %, an epoch computes less than that: Numba skips pixels that are 0.
"""
"""How the figures of a table are computed."""
CNN_NOTE = """\
The products of a convolution are those of columns with its weight; making the
columns is not included. Above 100 %, an epoch needs no such columns.
"""
"""What "gemm" means for a network with convolutions."""
# An epoch that takes twice as long as another one with the same work was disturbed.
_MOST_SPREAD = 2.0


def ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Return how many times as long one takes as the other: the ratio of their medians, as in tables."""
    return statistics.median(seconds) / statistics.median(others)


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, with at least three significant digits."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def two_digits(value: float) -> str:
    """Return a ratio with at least two significant digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:#.2g}"


def network_of(found: dict[str, Any]) -> str:
    """Return the name of the network of a results file; older files, without one, have an "mlp"."""
    return str(found["workload"].get("network", "mlp"))


def title(found: dict[str, Any]) -> str:
    """Return the network and the batch of a results file, for tables and charts.

    Raises
    ------
    ValueError
        If it lacks them.
    """
    workload = found["workload"]
    if "title" in workload:
        return str(workload["title"])
    try:
        widths = "-".join(map(str, workload["sizes"]))
        network = title_of(xpnet.lenet5()) if network_of(found) == "cnn" else widths
        return f"{network}, batch {workload['batch_size']}"
    except KeyError as e:
        raise ValueError(f"the workload has no {e}; pass results that `xpnet bench --json` wrote") from e


def _first_workload(found: dict[str, Any]) -> Workload:
    """Return the workload of a results file of version 1: one of two networks, trained with momentum."""
    workload = found["workload"]
    model = xpnet.lenet5() if network_of(found) == "cnn" else xpnet.mlp(*workload["sizes"])
    return Workload(model)


def data_name(found: dict[str, Any]) -> str:
    """Return the name of the data set of a results file."""
    return str(found["workload"].get("data", "MNIST"))


def samples(found: dict[str, Any]) -> int:
    """Return the number of training examples of a results file."""
    workload = found["workload"]
    return int(workload.get("samples") or workload["limit"] or 60000)


def work(found: dict[str, Any]) -> dict[str, Any]:
    """Return what makes two races the same work, by what it is called.

    Raises
    ------
    ValueError
        If the file lacks it.
    """
    workload = found["workload"]
    try:
        if "model" not in workload:
            rule = xpnet.Momentum(workload["lr"], workload["beta"])
            listed = replace(_first_workload(found), optimizer=rule).listed()
            workload = listed | {name: workload[name] for name in ("batch_size", "seed", "dtype")}
        return {
            "data": workload["data"],
            "training examples": samples(found),
            "batch size": workload["batch_size"],
            "optimizer": workload["optimizer"],
            "loss": workload["loss"],
            "network": title(found),
            "layers": workload["model"],
            "seed": workload["seed"],
            "precision": workload["dtype"],
        }
    except KeyError as e:
        raise ValueError(f"the workload has no {e}; pass results that `xpnet bench --json` wrote") from e


def has_convolutions(found: dict[str, Any]) -> bool:
    """Return whether the network of a results file has convolutions."""
    return network_of(found) == "cnn" or '"Conv2d"' in json.dumps(found["workload"].get("model"))


def table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    heads = _heads(found, _COLUMNS)
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    rows += _cells(found, heads)
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _heads(found: dict[str, Any], columns: Iterable[str]) -> list[str]:
    """Return the columns without accuracies, if values are predicted, or without losses."""
    has_accuracies = any(r.get("accuracy") is not None for r in found["results"])
    has_losses = any(r.get("loss") is not None for r in found["results"])
    dropped = "test accuracy" if has_losses and not has_accuracies else "test loss"
    return [head for head in columns if head != dropped]


def listing(found: dict[str, Any]) -> str:
    """Return the results as a table for a terminal of 80 columns, with notes and warnings."""
    heads = _heads(found, _SHORT)
    lines = aligned_rows([[_SHORT[head] for head in heads], *_cells(found, heads)])
    notes = _FIGURES + CNN_NOTE if has_convolutions(found) else NOTES
    about = f"{data_name(found)}, {title(found)}."
    return "\n".join([*lines, "", about, notes, *_launches(found), *noise.lines(found), *warnings(found)])


def _launches(found: dict[str, Any]) -> list[str]:
    """Return a line for each result of a GPU whose launches were counted."""
    counts = {r["name"]: r.get("launches_per_step") for r in found["results"]}
    return [
        f"{name}: {'one kernel takes many steps' if n == 0 else f'a CUDA graph of {n} nodes a step'}."
        for name, n in counts.items()
        if n is not None
    ]


def aligned_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines: the first column on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{row[0]:{widths[0]}}  "
        + "  ".join(f"{text:>{w}}" for text, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _cells(found: dict[str, Any], heads: Sequence[str]) -> list[list[str]]:
    """Return the cells of a table, a list for each result.

    Raises
    ------
    ValueError
        If a result lacks something that the columns show.
    """
    results = found["results"]
    try:
        return [[_COLUMNS[head](r, results[0]) for head in heads] for r in results]
    except KeyError as e:
        raise ValueError(f"a result has no {e}; pass results that `xpnet bench --json` wrote") from e


def warnings(found: dict[str, Any]) -> list[str]:
    """Return a warning for each competitor whose epochs differ so much that its median says little."""
    return [
        f"warning: epochs of {r['name']} took {milliseconds(min(r['seconds']))} to "
        f"{milliseconds(max(r['seconds']))} ms:\n"
        "  something else used the machine; run it again, or with more `--rounds`"
        for r in found["results"]
        if max(r["seconds"]) > _MOST_SPREAD * min(r["seconds"])
    ]


def _percent(share: float | None, digits: int) -> str:
    return "" if share is None else f"{share:.{digits}%}"
