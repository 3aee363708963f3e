"""The files that a command writes when its work is done; the work is not lost if that fails."""

from __future__ import annotations

import os
import pathlib
import secrets
import tempfile
from collections.abc import Callable

import click

from xpnet.cli.interruption import uninterrupted

Write = Callable[[pathlib.Path], object]


class ElsewhereError(OSError):
    """What could not be written as asked; its text says where that is now, and is shown whole."""


class RescuedError(click.ClickException):
    """What ended a training; its text says what was written of it and where, and is shown whole."""


class Outputs:
    """Writes files and notes what came of it.

    Attributes
    ----------
    lines : list of str
        What was done, a line for each file.
    failures : list of str
        What could not be written, and where it is instead.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures: list[str] = []

    def write(self, done: str, path: pathlib.Path | None, write: Write) -> None:
        """Call `write` with `path`, unless there is none; if it fails, with a path beside it or elsewhere."""
        if path is None:
            return
        with uninterrupted():
            try:
                write(path)
                self.lines.append(f"{done} {path}")
            except OSError as e:
                other = _written_elsewhere(path, write)
                where = "" if other is None else f", or take {str(other)!r}, which has it now"
                self.failures.append(f"{e}{where}")

    def say(self) -> None:
        """Print what was done, and raise if something could not be written.

        Raises
        ------
        OSError
        """
        for line in self.lines:
            click.echo(line)
        self.check()

    def check(self) -> None:
        """Raise if something could not be written.

        Raises
        ------
        ElsewhereError
        """
        if self.failures:
            raise ElsewhereError("; ".join(self.failures))


def _written_elsewhere(path: pathlib.Path, write: Write) -> pathlib.Path | None:
    # Cut, because a file's name has at most 255 bytes, and a character up to four.
    name = f"{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix[:10]}"
    # Beside a pipe or a device is no place for files.
    beside = [] if os.path.exists(path) and not os.path.isfile(path) else [path.parent]
    for folder in (*beside, pathlib.Path.cwd(), pathlib.Path(tempfile.gettempdir())):
        try:
            write(folder / name)
        except OSError:
            continue
        return folder / name
    return None
