"""The files that a command writes when its work is done; if writing fails, the results are not lost."""

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
    """A file could not be written where asked; the message says where it is now, and is not shortened."""


class RescuedError(click.ClickException):
    """An error ended a training; the message says what was written and where, and is not shortened."""


class Outputs:
    """Writes files and records the outcome.

    Attributes
    ----------
    lines : list of str
        What was written, one line per file.
    failures : list of str
        What could not be written, and where it is now.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures: list[str] = []

    def write(self, done: str, path: pathlib.Path | None, write: Write) -> None:
        """Call `write` with `path`, unless that is None; if it fails, with a path next to it or elsewhere."""
        if path is None:
            return
        with uninterrupted():
            try:
                write(path)
                self.lines.append(f"{done} {path}")
            except OSError as e:
                other = _written_elsewhere(path, write)
                where = "" if other is None else f", or take it from {str(other)!r}"
                self.failures.append(f"{e}{where}")

    def say(self) -> None:
        """Print what was written, and raise if something could not be.

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
    # Shortened, because a file name has at most 255 bytes, and a character up to four.
    name = f"{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix[:10]}"
    # Not next to a pipe or a device.
    near = [] if os.path.exists(path) and not os.path.isfile(path) else [path.parent]
    for folder in (*near, pathlib.Path.cwd(), pathlib.Path(tempfile.gettempdir())):
        try:
            write(folder / name)
        except OSError:
            continue
        return folder / name
    return None
