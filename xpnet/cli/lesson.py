"""``xpnet lesson``: the course, one command per lesson."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import click

import xpnet
from xpnet import plots
from xpnet.checks import positive
from xpnet.cli.options import (
    COUNT,
    backend_option,
    check_distinct,
    json_option,
    output_option,
    written_json,
)
from xpnet.lessons import LESSONS, find_lesson


def _rate(value: str) -> float:
    try:
        return positive("lr", float(value))
    except ValueError as e:
        raise click.BadParameter(str(e)) from e


_OPTIONS: dict[str, tuple[Any, str]] = {
    "iterations": (COUNT, "Steps of the descent."),
    "epochs": (COUNT, "Passes over the data."),
    "limit": (COUNT, "Train only on the first N images."),
    "lr": (_rate, "Learning rate."),
    "seed": (click.IntRange(0, 2**64 - 1), "Seed of all random numbers."),
}


@click.command(
    # Everything after the name belongs to the lesson.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="",
)
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]...")
def lesson(name: str | None, arguments: tuple[str, ...]) -> None:
    """Run a lesson of the course "Neural Network from Scratch" by Subash Gandyer; without a name, list them.

    `xpnet lesson NAME --help` explains a lesson and lists its options.
    """
    if name is None:
        width = max(map(len, LESSONS))
        for each in LESSONS:
            click.echo(f"{each:{width}}  {_title(find_lesson(each))}")
        return
    try:
        module = find_lesson(name)
    except ValueError as e:
        raise click.UsageError(str(e)) from e
    _command(name, module).main(list(arguments), prog_name=f"xpnet lesson {name}", standalone_mode=False)


def _command(name: str, module: Any) -> click.Command:
    """Return the command of one lesson; its options are the keywords of the lesson's `run`."""
    keywords = {
        key: parameter.default
        for key, parameter in inspect.signature(module.run).parameters.items()
        if key in _OPTIONS
    }

    def callback(
        backend: str | None, plot: pathlib.Path | None, json_path: pathlib.Path | None, **own: Any
    ) -> None:
        check_distinct(plot=plot, json=json_path)
        if plot is not None:
            if not hasattr(module, "draw"):
                raise click.UsageError(f"lesson {name!r} has no plot; leave out `--plot`")
            plots.check(plot)
        xp = xpnet.backend(backend)
        figures = module.run(xp, **{key: own[key] for key in keywords})
        written_json(json_path, figures).say()
        if plot is not None:
            plots.save(plots.drawn(module.draw, figures), plot)
            print(f"drew {plot}")

    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    command = click.command(name, help=_help(module), context_settings=settings)(callback)
    for key in {**keywords, "seed": None}:
        kind, what = _OPTIONS[key]
        if key not in keywords:
            what = "Accepted but ignored: nothing here is random."
        default = keywords.get(key)
        shown = default is not None
        command = click.option(
            f"--{key}",
            type=kind,
            metavar="FLOAT" if kind is _rate else None,
            default=default,
            show_default=shown,
            help=what,
        )(command)
    drawing = "Write the lesson's plot (PNG, SVG or PDF)."
    command = output_option("--plot", what=drawing, hidden=not hasattr(module, "draw"))(command)
    return backend_option(json_option("the results by name")(command))


def _title(module: Any) -> str:
    return (module.__doc__ or "").partition("\n")[0].rstrip(".")


def _help(module: Any) -> str:
    # Click refills paragraphs; "\b" makes it leave a formula or a table alone.
    paragraphs = (module.__doc__ or "").strip().split("\n\n")
    return "\n\n".join(f"\b\n{text}" if text.startswith(" ") else text for text in paragraphs)
