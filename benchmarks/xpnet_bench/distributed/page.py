"""The results of a study as a part of a page."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from xpnet_bench.distributed import listing, results

_OWED = "No results have been published yet.\n"


def section(folder: pathlib.Path) -> str:
    """Return a picture and the tables of each results file in a folder, in the order of their names."""
    files = sorted(folder.glob("*.json"))
    return "\n".join(_study(results.read(path), picture(path)) for path in files) or _OWED


def picture(path: pathlib.Path) -> str:
    """Return the name of the picture of a results file."""
    return f"scaling-{path.stem}.svg"


def _study(found: Mapping[str, Any], name: str) -> str:
    about, workload = found["machine"], found["workload"]
    title = f"{workload['title']}, {about['ranks']} ranks on {about['processor']}"
    parts = [
        f"## {title}",
        f"![Efficiency and speed-up over the number of ranks, {title}](../images/{name})",
        listing.conditions(found),
        listing.markdown(listing.steps(found)).rstrip("\n"),
        "\n".join(f"- {line}" for line in listing.efficiencies(found)),
        "\n".join([listing.exchange(found), *listing.computing(found)]),
    ]
    asked = listing.modelled(found)
    if asked is not None:
        parts += [
            *listing.unmeasured(found),
            f"{asked} {listing.LEAST}",
            listing.markdown(listing.pays(found)).rstrip("\n"),
            listing.FASTEST,
            listing.markdown(listing.fastest(found)).rstrip("\n"),
        ]
    return "\n\n".join([*parts, _versions(found)]) + "\n"


def _versions(found: Mapping[str, Any]) -> str:
    rounds = len(found["backends"][0]["steps"]["alone"])
    versions = dict(found["versions"])
    for backend in found["backends"]:
        versions |= backend["versions"]
    library = versions.pop("mpi")
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"Medians of {rounds} rounds, in turns. {found['machine']['processor']}; BLAS: "
        f"{found['machine']['blas']}; {library}; {listed}; {found['date'][:10]}."
    )
