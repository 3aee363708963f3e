"""Results as a file: what ran, where, when, and the figures; `schema.json` describes it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import xpnet
from xpnet_bench.workload import Workload

SCHEMA_VERSION = 1
SCHEMA = pathlib.Path(__file__).with_name("schema.json")


def document(
    results: Sequence[dict[str, Any]],
    skipped: Sequence[str],
    workload: Workload,
    *,
    threads: int,
    blas: str,
) -> dict[str, Any]:
    """Return a whole results file as a dict."""
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(threads, blas),
        "versions": {"xpnet": xpnet.__version__, "python": platform.python_version()},
        "workload": {**dataclasses.asdict(workload), "sizes": list(workload.sizes), "dtype": "float32"},
        "results": list(results),
        "skipped": list(skipped),
    }


def machine(threads: int, blas: str) -> dict[str, Any]:
    """Return what there is to know of this machine that bears on speed."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "blas": blas,
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    vectors = " with AVX-512" if "avx512f" in fields.get("flags", "").split() else ""
    return fields.get("model name", platform.machine()) + vectors


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the results file at `path`.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no results file, or one of another version of the schema.
    """
    try:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise ValueError(
            f"{str(path)!r} is no results file ({e}); pass one that `xpnet bench --json` wrote"
        ) from e
    version = found.get("schema_version") if isinstance(found, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{str(path)!r} has version {version!r} of the schema, but this is version {SCHEMA_VERSION}; "
            "run `xpnet bench --json` anew"
        )
    missing = [key for key in ("machine", "versions", "workload", "results") if not found.get(key)]
    if missing:
        raise ValueError(f"{str(path)!r} has no {missing[0]!r}; pass a file that `xpnet bench --json` wrote")
    return found


def table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    first = found["results"][0]["name"]
    heads = ["competitor", "seconds an epoch", "spread", f"ratio to {first}", "images a second"]
    heads += ["share of the limit", "test accuracy", "memory beyond imports"]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *map(_row, found["results"])]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(r: dict[str, Any]) -> list[str]:
    share = None if r["kind"] == "limit" else r["share_of_limit"]
    return [
        r["name"],
        f"{r['median']:.3f}",
        f"{min(r['seconds']):.3f} to {max(r['seconds']):.3f}",
        f"{r['ratio_to_first']:.2f}",
        f"{r['examples_per_second']:,.0f}",
        "" if share is None else f"{share:.0%}",
        "" if r["accuracy"] is None else f"{r['accuracy']:.2%}",
        f"{(r['peak_rss_bytes'] - r['imported_rss_bytes']) / 1e6:.0f} MB",
    ]
