"""What ``xpnet train`` reads before it trains."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import click

import xpnet
from xpnet.cli.data import IMAGES
from xpnet.cli.fitting import parted
from xpnet.cli.options import find_kind, read_data
from xpnet.cli.tables import TableOptions
from xpnet.datasets import Dataset
from xpnet.namespace import Namespace
from xpnet.problem import aligned
from xpnet.run import Run


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The parts of a data set of this kind, and the model to begin with.

    Attributes
    ----------
    kind : str
    training, testing : Dataset
    validation : Dataset or None
    loaded : Run or None
    """

    kind: str
    training: Dataset
    validation: Dataset | None
    testing: Dataset
    loaded: Run | None


@dataclasses.dataclass(frozen=True)
class Sources:
    """The options that say what is read."""

    dataset: str | None
    data: pathlib.Path | None
    max_bytes: int | None
    size: tuple[int, int] | None
    table: TableOptions
    limit: int | None
    load: pathlib.Path | None

    def read(self, xp: Namespace, config: dict[str, Any]) -> TrainingData:
        """Return what the options name; `config` has those of the training."""
        kind = find_kind(self.dataset, self.data, self.max_bytes)
        training, testing = read_data(kind, self.data, self.max_bytes, self.size, self.table)
        if self.size is not None and kind != IMAGES:
            raise click.UsageError("`--size` is for folders of pictures; leave it out")
        training = training[: self.limit]
        loaded = None if self.load is None else xpnet.load(self.load, xp)
        if loaded is not None:
            training, testing = (
                aligned(f"{self.data}", part, loaded.classes) for part in (training, testing)
            )
        training, validation = parted(config, training)
        return TrainingData(kind, training, validation, testing, loaded)
