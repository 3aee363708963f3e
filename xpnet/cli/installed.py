"""The commands that installed packages add to `xpnet` by the entry-point group 'xpnet.commands'."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import click

_GROUP = "xpnet.commands"


def installed_commands() -> Iterator[tuple[str, click.Command]]:
    """Yield names and commands; one that cannot be loaded says so when it is called."""
    for entry in importlib.metadata.entry_points(group=_GROUP):
        try:
            yield entry.name, entry.load()
        except Exception as e:
            yield entry.name, _failing(entry, e)


def _failing(entry: importlib.metadata.EntryPoint, error: Exception) -> click.Command:
    text = (
        f"command {entry.name!r} cannot be loaded: {type(error).__name__}: {error}; reinstall {entry.module}"
    )

    @click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, help=text)
    @click.argument("args", nargs=-1)
    def fail(args: tuple[str, ...]) -> None:
        raise click.ClickException(text)

    return fail
