"""The goals for speed and memory, and what races say of them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from races import Found, Study
from xpnet_bench import results
from xpnet_bench.ours import IN_TF32


@dataclasses.dataclass(frozen=True)
class Goal:
    """A figure with its goal.

    Attributes
    ----------
    name, goal : str
    figure : callable
        Takes a race and returns the figure. It raises a `MissingError` if the race does not have it.
    form : callable
        Takes the figure and returns its text.
    """

    name: str
    goal: str
    figure: Callable[[Found], float]
    form: Callable[[float], str] = results.two_digits

    def measured(self, races: Sequence[Found]) -> list[float]:
        """Return the figure of each race, or nothing if one lacks it."""
        try:
            return [self.figure(found) for found in races]
        except MissingError:
            return []


class MissingError(Exception):
    """Says that a race does not have a figure."""


def epochs(mine: str, other: str) -> Callable[[Found], float]:
    """Return the figure of one competitor's epoch over another's, both on the GPU if there is one."""

    def figure(found: Found) -> float:
        seconds = [_entry(found, name)["seconds"] for name in (mine, other)]
        if "gpu" in found["machine"] and _entry(found, other)["device"] == "cpu":
            raise MissingError
        return results.ratio(*seconds)

    return figure


def steps(mine: str, other: str, name: str) -> Callable[[Found], float]:
    """Return the figure of one competitor's step of another size over another's."""
    return lambda found: _compared(found, mine, other, "steps", name)


def processes(mine: str, other: str) -> Callable[[Found], float]:
    """Return the figure of one backend's whole process over another's."""
    return lambda found: _compared(found, mine, other, "processes")


def memory(name: str) -> Callable[[Found], float]:
    """Return the figure of a competitor's peak of memory beyond its imports, in bytes."""
    return lambda found: _entry(found, name)["peak_rss_bytes"] - _entry(found, name)["imported_rss_bytes"]


def share(backend: str) -> Callable[[Found], float]:
    """Return the figure of a backend's share of the device's matrix rate."""

    def figure(found: Found) -> float:
        (shares,) = found.get("shares", {"": {}}).values()
        return statistics.median(_in(shares, backend))

    return figure


def _first_epoch(found: Found) -> float:
    mine = _entry(found, "xpnet cupy")
    return mine["prepare_seconds"] + mine["seconds"][0]


def _host(found: Found) -> float:
    return _in(_entry(found, "xpnet cupy"), "host_seconds")


def _compared(found: Found, mine: str, other: str, *keys: str) -> float:
    by_name = found.get("comparisons")
    for key in keys:
        by_name = _in(by_name, key)
    return results.ratio(_in(by_name, mine), _in(by_name, other))


def _entry(found: Found, name: str) -> Any:
    return _in({r["name"]: r for r in found["results"]}, name)


def _in(mapping: Any, key: str) -> Any:
    found = (mapping or {}).get(key)
    if found is None:
        raise MissingError
    return found


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _milliseconds(seconds: float) -> str:
    return f"{results.milliseconds(seconds)} ms"


_SMALL, _LARGE = "batch 32", "784-1024-1024-10, batch 256"
_NUMBA, _NUMPY, _CUPY, _JAX = "xpnet numba", "xpnet numpy", "xpnet cupy", "JAX scan"

MLP = (
    Goal("Numba epoch / JAX scan epoch", "at most 0.25", epochs(_NUMBA, _JAX)),
    Goal("Numba epoch / its matrix products alone in BLAS", "at most 1.0", epochs(_NUMBA, "gemm alone")),
    Goal("Numba epoch / PyTorch eager epoch", "at most 0.2", epochs(_NUMBA, "PyTorch eager")),
    Goal("NumPy epoch / JAX scan epoch", "at most 1.3", epochs(_NUMPY, _JAX)),
    Goal("NumPy epoch / the course's program, float64", "at most 0.4", epochs(_NUMPY, "course float64")),
    Goal(f"Numba step / JAX step, {_SMALL}", "at most 0.5", steps("numba", _JAX, _SMALL)),
    Goal(f"Numba step / JAX step, {_LARGE}", "at most 1.0", steps("numba", _JAX, _LARGE)),
    Goal(
        "`xpnet train --epochs 1` as a whole process, Numba / NumPy",
        "at most 1.0",
        processes("numba", "numpy"),
    ),
    Goal("Memory of a Numba training beyond imports", "at most 400 MB", memory(_NUMBA), _megabytes),
)
CNN = (
    Goal("LeNet-5: Numba epoch / PyTorch eager epoch", "at most 0.6", epochs(_NUMBA, "PyTorch eager")),
    Goal("LeNet-5: Numba epoch / JAX scan epoch", "at most 0.07", epochs(_NUMBA, _JAX)),
    Goal("LeNet-5: NumPy epoch / PyTorch eager epoch", "at most 2.5", epochs(_NUMPY, "PyTorch eager")),
    Goal("LeNet-5: memory of a Numba training beyond imports", "at most 1000 MB", memory(_NUMBA), _megabytes),
)
GPU = (
    Goal("CuPy epoch / JAX scan epoch", "at most 0.2", epochs(_CUPY, _JAX)),
    Goal("CuPy epoch / PyTorch CUDA-graph epoch", "at most 0.1", epochs(_CUPY, "PyTorch CUDA graph")),
    Goal("CuPy epoch / PyTorch eager epoch", "at most 0.007", epochs(_CUPY, "PyTorch eager")),
    Goal(f"CuPy step / JAX step, {_SMALL}", "at most 0.3", steps("cupy", _JAX, _SMALL)),
    Goal(f"CuPy step / JAX step, {_LARGE}", "at most 0.8", steps("cupy", _JAX, _LARGE)),
    Goal("Host time of an epoch", "under 0.2 ms", _host, _milliseconds),
    Goal(
        "784-4096-4096-10, batch 8192: share of the float32 matrix rate",
        "at least 70%",
        share("cupy"),
        "{:.0%}".format,
    ),
    Goal(
        "784-4096-4096-10, batch 8192: share of the TF32 matrix rate",
        "at least 70%",
        share(f"cupy{IN_TF32}"),
        "{:.0%}".format,
    ),
    Goal("First epoch, with compilation", "under 5 s", _first_epoch, "{:.1f} s".format),
    Goal(
        "`xpnet train --epochs 1` as a whole process, CuPy / NumPy",
        "at most 1.3",
        processes("cupy", "numpy"),
    ),
)


def of_processors(study: Study) -> str:
    """Return the table of a study's goals on processors; empty if its races lack the figures."""
    goals = CNN if results.network_of(study.quietest) == "cnn" else MLP
    figures = [goal.measured(study.races) for goal in goals]
    if not all(figures):
        return ""
    several = len(study.races) > 1
    heads = ["figure", "goal", "median", "quietest race", "each race"] if several else _HEADS
    rows = []
    for goal, values in zip(goals, figures, strict=True):
        each = ", ".join(map(goal.form, values))
        quietest = goal.form(goal.figure(study.quietest))
        cells = [goal.form(statistics.median(values)), quietest, each] if several else [quietest]
        rows.append([goal.name, goal.goal, *cells])
    return _table(heads, rows)


def of_gpus(races: Sequence[Found]) -> str:
    """Return the table of the goals on GPUs; what was not measured is owed."""
    figures = [goal.measured(races) for goal in GPU]
    rows = [
        [goal.name, goal.goal, goal.form(statistics.median(values)) if values else "owed"]
        for goal, values in zip(GPU, figures, strict=True)
    ]
    return _table(_HEADS, rows)


_HEADS = ["figure", "goal", "measured"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
