"""The history of a training as a CSV file that grows by a line an epoch."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import io
import os
from typing import Any

from xpnet.files import write_whole
from xpnet.run import Epoch, Run

_COLUMNS = [field.name for field in dataclasses.fields(Epoch)]


class CSVLog:
    """Writes the history to a CSV file: a header, then one line after each epoch.

    The file is begun anew with each training. If a training is resumed, its earlier epochs are there first,
    so none is missing or there twice. A number that the history does not have is left empty.

    Parameters
    ----------
    path : str or path
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __repr__(self) -> str:
        return f"CSVLog({self.path!r})"

    def begin(self, run: Run) -> None:
        """Write the header and the epochs that the run has had.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        write_whole(self.path, _lines([_COLUMNS, *map(_row, run.history)]))

    def __call__(self, run: Run) -> None:
        """Add the last epoch.

        Raises
        ------
        OSError
            If the file cannot be written; then it ends with the line before.
        """
        line = _lines([_row(run.history[-1])])
        # Unbuffered, so that each line is written by one call and can be read at once.
        with open(self.path, "ab", buffering=0) as file:
            written = file.write(line)
            if written != len(line):  # The disk is full.
                with contextlib.suppress(OSError):  # A pipe cannot be shortened.
                    file.truncate(file.tell() - written)
                raise OSError(errno.ENOSPC, f"cannot write {self.path!r}: {os.strerror(errno.ENOSPC)}")


def _row(epoch: Epoch) -> list[Any]:
    return [getattr(epoch, name) for name in _COLUMNS]


def _lines(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
