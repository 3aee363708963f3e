"""``xpnet lesson``: the course, one command per lesson."""

from __future__ import annotations

import inspect
import pathlib
import shutil
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
from xpnet.lessons.catalogue import MACHINE, SECONDS, duration, lesson_name


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

    NAME is a lesson's name or its number. A lesson explains itself, says where its program is, and runs it.
    `xpnet lesson NAME --source` prints the program instead, and `xpnet lesson NAME --help` lists the options.
    """
    if name is None:
        _list_lessons()
        return
    try:
        known = lesson_name(name)
    except ValueError as e:
        if name.startswith("--"):
            raise click.UsageError(
                f"{name!r} comes before the lesson; name that first, as in `xpnet lesson loss --source`"
            ) from e
        raise click.UsageError(str(e)) from e
    command = _command(known, find_lesson(known))
    command.main(list(arguments), prog_name=f"xpnet lesson {known}", standalone_mode=False)


def _list_lessons() -> None:
    """Print the number, the name, the times and the title of each lesson."""
    width = max(map(len, LESSONS))
    for number, name in enumerate(LESSONS, start=1):
        times = "  ".join(f"{backend} {duration(known[name]):>6}" for backend, known in SECONDS.items())
        click.echo(f"{number:2}  {name:{width}}  {times}  {_title(find_lesson(name))}")
    click.echo(f"\nTimes are rough, measured on {MACHINE}. `xpnet lesson 5` is `xpnet lesson {LESSONS[4]}`.")


def _command(name: str, module: Any) -> click.Command:
    """Return the command of one lesson; its options are the keywords of the lesson's `run`."""
    keywords = {
        key: parameter.default
        for key, parameter in inspect.signature(module.run).parameters.items()
        if key in _OPTIONS
    }

    def callback(
        source: bool,
        backend: str | None,
        plot: pathlib.Path | None,
        json_path: pathlib.Path | None,
        **own: Any,
    ) -> None:
        if source:
            click.echo(inspect.getsource(module), nl=False)
            return
        check_distinct(plot=plot, json=json_path)
        if plot is not None:
            plots.check(plot)
        xp = xpnet.backend(backend)
        width = min(100, shutil.get_terminal_size().columns)
        click.echo(click.wrap_text(_explanation(module), width, preserve_paragraphs=True))
        click.echo(f"\nThe program: {module.__file__}\n")
        figures = module.run(xp, **{key: own[key] for key in keywords})
        written_json(json_path, figures).say()
        if plot is not None:
            plots.save(plots.drawn(module.draw, figures), plot)
            print(f"drew {plot}")

    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    command = click.command(name, help=_explanation(module), context_settings=settings)(callback)
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
    command = output_option("--plot", what="Write the lesson's plot (PNG, SVG or PDF).")(command)
    what = "Print the program instead of running it."
    command = click.option("--source", is_flag=True, help=what)(command)
    return backend_option(json_option("the results by name")(command))


def _title(module: Any) -> str:
    return (module.__doc__ or "").partition("\n")[0].rstrip(".").partition(": ")[0]


def _explanation(module: Any) -> str:
    """Return what a lesson says of itself, for Click to refill, without the marks of formulas."""
    # "\b" makes Click leave a formula or a table alone.
    paragraphs = (module.__doc__ or "").replace("``", "").strip().split("\n\n")
    return "\n\n".join(f"\b\n{text}" if text.startswith(" ") else text for text in paragraphs)
