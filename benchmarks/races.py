"""The published races in `results/`: a file for each, or a folder of several whole races of one workload."""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from xpnet_bench import results

Found = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Study:
    """All races of one workload on one machine.

    Attributes
    ----------
    name : str
        Of the file or the folder.
    races : sequence of dict
        Results files, in the order in which they were run.
    """

    name: str
    races: Sequence[Found]

    @property
    def quietest(self) -> Found:
        """The race in which the limit, which runs no code of ours, varied least."""
        return min(self.races, key=_variation)

    def median(self, figure: Callable[[Found], float]) -> float:
        """Return the median of a figure over the races."""
        return statistics.median(map(figure, self.races))


def studies(folder: pathlib.Path) -> list[Study]:
    """Return the races of a folder of results, by name; folders of other benchmarks are left out."""
    files = [(path.stem, [path]) for path in folder.glob("*.json")]
    folders = [(path.name, sorted(path.glob("*.json"))) for path in folder.glob("[cg]pu-*/")]
    return [Study(name, [*map(results.read, paths)]) for name, paths in sorted([*files, *folders])]


def _variation(found: Found) -> float:
    """Return the standard deviation of the limit's epochs, or of the first competitor's, over their mean."""
    limits = [r["seconds"] for r in found["results"] if r["kind"] == "limit"]
    seconds = limits[0] if limits else found["results"][0]["seconds"]
    return statistics.pstdev(seconds) / statistics.mean(seconds)
