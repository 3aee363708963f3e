"""A command whose help lists its options in sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

HEADS = "section"
Command = TypeVar("Command", bound=Callable[..., Any])


def section(head: str, *options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds options, in this order, under a head in the help."""

    def add(command: Command) -> Command:
        known = getattr(command, "__click_params__", [])
        before = len(known)
        for option in reversed(options):
            command = option(command)
        for parameter in vars(command)["__click_params__"][before:]:
            parameter.section = head
        return command

    return add


class Sectioned(click.Command):
    """A command whose options have a section, see `section`; Click has no other way than a subclass."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below the heads of their sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, HEADS, "Other"), []).append(record)
        for head, records in sections.items():
            with formatter.section(head):
                formatter.write_dl(records)
