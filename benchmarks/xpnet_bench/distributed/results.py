"""Results of a study: reading its file, and asking its model."""

from __future__ import annotations

import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xpnet.errors import fitted
from xpnet.files import from_json, to_read
from xpnet_bench import schema
from xpnet_bench.distributed.compute import Compute, Measured, Work, fitted_compute, nearest
from xpnet_bench.distributed.exchange import link_of
from xpnet_bench.distributed.link import Link
from xpnet_bench.distributed.prediction import Prediction

VERSION = 1
SCHEMA = pathlib.Path(__file__).with_name("scaling.json")
ASKED = 8, 64, 512
"""The numbers of ranks for which the least batch is listed."""
_BATCHES = 1, 8, 64


class Scaled(NamedTuple):
    """A network of the model.

    Attributes
    ----------
    name : str
    row : Work
        Of one row; parameters do not depend on the rows.
    """

    name: str
    row: Work

    def work(self, rows: int) -> Work:
        """Return the work of so many rows."""
        return Work(rows * self.row.flops, self.row.parameters)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the results at `path`.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not a file that ``xpnet bench --distributed --json`` wrote.
    """
    found = from_json(pathlib.Path(to_read(path)).read_text(encoding="utf-8"))
    known = schema.document(SCHEMA)
    missing = [key for key in known["required"] if not isinstance(found, dict) or key not in found]
    fault = f"it has no {missing[0]!r}" if missing else schema.fault(found, SCHEMA)
    if fault is not None:
        template = (
            "{path} holds no study ({fault}); pass a file that `xpnet bench --distributed --json` wrote"
        )
        raise ValueError(fitted(template, path=repr(os.fspath(path)), fault=fault))
    return dict(found)


def computes_of(grid: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the model of each network of a grid, fitted to its points, and its errors."""
    names = dict.fromkeys(point["network"] for point in grid)
    return [_compute_of([point for point in grid if point["network"] == name]) for name in names]


def _compute_of(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    works = [Work(point["flops"], point["parameters"]) for point in points]
    alone, beside = ([statistics.median(point[key]) for point in points] for key in ("alone", "beside"))
    compute = fitted_compute(works, alone, beside)
    errors = {
        "alone": [compute.alone(work) / seconds - 1 for work, seconds in zip(works, alone, strict=True)],
        "beside": [compute.beside(work) / seconds - 1 for work, seconds in zip(works, beside, strict=True)],
    }
    about = {"network": points[0]["network"], "parameters": works[0].parameters}
    return {**about, **compute._asdict(), "relative_errors": errors}


def measured_of(backend: Mapping[str, Any]) -> list[Measured]:
    """Return the networks that were measured on a backend."""
    return [
        Measured(each["network"], each["parameters"], Compute(*(each[name] for name in Compute._fields)))
        for each in backend["compute"]
    ]


def prediction_of(found: Mapping[str, Any], backend: Mapping[str, Any], network: Scaled) -> Prediction | None:
    """Return the model of a network, on the link that was given, else as measured; None without either."""
    link = found["exchange"]["given"] or found["exchange"]["fitted"]
    if link is None:
        return None
    return Prediction(nearest(measured_of(backend), network.row.parameters).compute, link_of(link))


def stand_in(backend: Mapping[str, Any], network: Scaled) -> str | None:
    """Return the network whose rates the model of this one takes; None if it was measured itself."""
    name = nearest(measured_of(backend), network.row.parameters).network
    return None if name == network.name else name


def family_of(backend: Mapping[str, Any]) -> list[Scaled]:
    """Return the networks that the model of a backend was asked about, from the narrowest."""
    return [Scaled(row["network"], Work(row["flops_per_row"], row["parameters"])) for row in backend["pays"]]


def pays_and_fastest(
    measured: Sequence[Measured], link: Link, family: Sequence[Scaled], batch: int
) -> dict[str, Any]:
    """Return from which batch a rank on ranks pay, and how many take a whole batch in the least time."""
    pays, fastest = [], []
    for network in family:
        prediction = Prediction(nearest(measured, network.row.parameters).compute, link)
        rows = {str(ranks): prediction.least_rows(network.work, ranks) for ranks in ASKED}
        about = {"flops_per_row": network.row.flops, "parameters": network.row.parameters}
        pays.append({"network": network.name, **about, "rows": rows})
        for whole in whole_batches(batch):
            ranks = prediction.fastest(network.work, whole)
            speed_up = prediction.speed_up(network.work, whole, ranks)
            fastest.append({"network": network.name, "batch": whole, "ranks": ranks, "speed_up": speed_up})
    return {"pays": pays, "fastest": fastest}


def whole_batches(batch: int) -> list[int]:
    """Return the batches that ranks divide, in tables and pictures."""
    return [batch * times for times in _BATCHES]
