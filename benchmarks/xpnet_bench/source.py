"""Where the data of a race come from; every competitor reads them itself."""

from __future__ import annotations

import dataclasses
import pathlib

import xpnet
from xpnet.cli.data import MNIST
from xpnet.cli.options import read_data
from xpnet.cli.tables import TableOptions
from xpnet.problem import aligned


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as the options of ``xpnet train`` name it.

    Attributes
    ----------
    kind : str
        One of the choices of ``--dataset``.
    path : str or None
        Absolute; None for MNIST, which is bundled.
    max_bytes : int or None
    size : tuple of int or None
        Height and width of pictures.
    target, one_hot : tuple of str
        Columns of a table.
    task : str or None
    """

    kind: str = MNIST
    path: str | None = None
    max_bytes: int | None = None
    size: tuple[int, int] | None = None
    target: tuple[str, ...] = ()
    one_hot: tuple[str, ...] = ()
    task: str | None = None

    def read(self) -> tuple[xpnet.Dataset, xpnet.Dataset]:
        """Return the training and the test set, with the same indices of classes."""
        path = None if self.path is None else pathlib.Path(self.path)
        table = TableOptions(self.target, self.one_hot, self.task)
        train, test = read_data(self.kind, path, self.max_bytes, self.size, table)
        return train, aligned("test", test, train.classes)

    @property
    def name(self) -> str:
        """What tables call it: MNIST, or the name of the file or folder."""
        return "MNIST" if self.path is None else pathlib.Path(self.path).name


BUNDLED = Source()
"""MNIST."""
