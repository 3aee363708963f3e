"""``xpnet backends``."""

from __future__ import annotations

import dataclasses
import json

import click

import xpnet


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends(as_json: bool) -> None:
    """List the backends and what they need.

    Each usable backend is tried, and listed with what affects its speed; any other one with the reason why it
    cannot be used and what to do about it.
    """
    found = xpnet.backends()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(info) for info in found], indent=2))
        return
    for info in found:
        if not info.usable:
            click.echo(f"{info.name:8} not usable\n{'':8} {' '.join((info.reason or '').split())}")
            continue
        fused = ", ".join(info.fused) or "nothing"
        click.echo(f"{info.name:8} {info.library} {info.version} on {info.device}")
        for line in (f"fused: {fused}", *info.advice):
            click.echo(click.wrap_text(line, 98, " " * 9, " " * 9))
