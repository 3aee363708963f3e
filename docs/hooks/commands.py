"""The reference of the command line: what `--help` prints of each command."""

from __future__ import annotations

from typing import Any

import click

from xpnet.cli.app import app

_MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with the help of all commands in the place of its mark."""
    if _MARK not in markdown:
        return markdown
    context = click.Context(app, info_name="xpnet", **app.context_settings)
    names = app.list_commands(context)
    return markdown.replace(_MARK, "\n\n".join(_section(name, app.commands[name], context) for name in names))


def _section(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, parent=parent, info_name=name, terminal_width=80)
    return f"## `xpnet {name}`\n\n```console\n{command.get_help(context)}\n```"
