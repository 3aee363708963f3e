"""Options that commands share, and the types of their values."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from xpnet.cli.outputs import Outputs
from xpnet.errors import shortened
from xpnet.files import check_writable, json_text, open_file, write_whole

_STDOUT = 1  # the number of the open file
Command = TypeVar("Command", bound=Callable[..., Any])


COUNT = click.IntRange(min=1)


def output_path(value: str) -> pathlib.Path:
    """Return the path of a file that can be written; checked before the work that produces it."""
    path = pathlib.Path(value)
    cannot = f"cannot write {shortened(repr(value), 100)}: "
    if not value or os.path.isdir(path):
        raise click.BadParameter(f"{cannot}it is not a file; name one")
    folder = shortened(repr(str(path.parent)), 100)
    if os.path.exists(path.parent) and not os.path.isdir(path.parent):
        raise click.BadParameter(f"{cannot}{folder} is not a folder; choose another place")
    if not os.path.isdir(path.parent):
        raise click.BadParameter(f"{cannot}there is no folder {folder}; create it first")
    try:
        check_writable(path)
    except OSError as e:
        raise click.BadParameter(str(e)) from e
    return path


def output_option(name: str, *names: str, what: str, **others: Any) -> Callable[[Command], Command]:
    """Add an option that names an output file; if that is standard output, nothing else is written to it."""
    return click.option(
        name, *names, metavar="PATH", type=output_path, callback=_set_aside, help=what, **others
    )


def _set_aside(
    context: click.Context, parameter: click.Parameter, path: pathlib.Path | None
) -> pathlib.Path | None:
    """Return `path`; if it is standard output, send everything else to standard error."""
    if path is not None and open_file(path) == _STDOUT:
        context.with_resource(contextlib.redirect_stdout(sys.stderr))
    return path


def check_distinct(**outputs: pathlib.Path | None) -> None:
    """Raise unless all options name different files."""
    named = {option: _place(path) for option, path in outputs.items() if path is not None}
    if len(set(named.values())) < len(named):
        options = ", ".join(f"`--{option}`" for option in named)
        raise click.UsageError(f"{options} name the same file; name a different one for each")


def _place(path: pathlib.Path) -> int | str:
    """Return what identifies a file: the number of an open one, else its real path."""
    number = open_file(path)
    return os.path.realpath(path) if number is None else number


def backend_option(command: Command) -> Command:
    """Add ``--backend``."""
    return click.option(
        "--backend",
        metavar="NAME",
        help="numpy, numba, cupy, cupy:1, ... [default: $XPNET_BACKEND, else numpy]",
    )(command)


def json_option(what: str) -> Callable[[Command], Command]:
    """Add ``--json``, which writes `what`."""
    return output_option("--json", "json_path", what=f"Write {what}.")


def written_json(path: pathlib.Path | None, value: Any) -> Outputs:
    """Return the outcome of writing `value` as indented JSON; without a path, nothing is written."""
    outputs = Outputs()
    outputs.write("wrote", path, lambda place: write_whole(place, json_bytes(value)))
    return outputs


def json_bytes(value: Any) -> bytes:
    """Return `value` as indented JSON, with null for numbers that are not finite."""
    return (json_text(value, indent=2) + "\n").encode()
