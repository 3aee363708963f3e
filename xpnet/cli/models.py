"""``xpnet evaluate`` and ``xpnet predict``: using a saved model."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import click

import xpnet
from xpnet import plots
from xpnet.cli.options import (
    backend_option,
    check_distinct,
    data_options,
    json_option,
    output_option,
    read_inputs,
    read_test,
    written_json,
)
from xpnet.cli.own_pictures import DIGIT, IMAGE, as_text, inputs_of, steps_of
from xpnet.cli.predictions import lines_of, predictions, with_predictions
from xpnet.cli.wanted import figures_about, figures_line
from xpnet.datasets import Dataset

_MOST_OF_A_NAME = 30  # characters of a class's name in a table
MODEL = click.argument("model", type=click.Path(path_type=pathlib.Path))


def indices(value: str) -> slice | list[int]:
    """Return the indices that ``7``, ``0:5`` or ``3,1,4`` select."""
    if re.fullmatch(r"(-?\d+)?(:(-?\d+)?){1,2}", value):
        return slice(*(int(part) if part else None for part in value.split(":")))
    if re.fullmatch(r"-?\d+(,-?\d+)*", value):
        return [int(part) for part in value.split(",")]
    raise click.BadParameter(f"{value!r} does not name indices; pass for example 7, 0:5 or 3,1,4")


@click.command()
@MODEL
@backend_option
@data_options
@json_option("loss, accuracy, confusion matrix and names of the classes")
@output_option("--plot", what="Draw the confusion matrix (PNG, SVG or PDF).")
@output_option("--plot-mistakes", what="Draw misclassified images, the most probable mistakes first.")
@output_option("--plot-filters", what="Draw the weights of the first layer as pictures.")
def evaluate(
    model: pathlib.Path,
    backend: str | None,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    json_path: pathlib.Path | None,
    plot: pathlib.Path | None,
    plot_mistakes: pathlib.Path | None,
    plot_filters: pathlib.Path | None,
) -> None:
    """Measure a saved MODEL on test images.

    Prints the loss, the accuracy, and precision, recall and F1 of each class; of a model that predicts
    values, the mean absolute error and R^2. Pictures of a folder are resized to the size that the model was
    trained on.
    """
    pictures = {"plot": plot, "plot-mistakes": plot_mistakes, "plot-filters": plot_filters}
    check_distinct(model, data, json=json_path, **pictures)
    for path in filter(None, pictures.values()):
        plots.check(path)
    run = xpnet.load(model, xpnet.backend(backend))
    test = read_test(run, dataset, data, max_bytes)
    evaluation = run.evaluate(test)
    results: dict[str, Any] = {"loss": evaluation.loss, "accuracy": evaluation.accuracy}
    if evaluation.classes is not None:
        results["classes"] = evaluation.classes
    results |= {"backend": run.xp.name, **figures_about(evaluation)}
    outputs = written_json(json_path, results)
    outputs.write("drew", plot, lambda path: plots.confusion(evaluation, path))
    outputs.write("drew", plot_mistakes, lambda path: plots.plot_mistakes(run, test, save=path))
    outputs.write("drew", plot_filters, lambda path: plots.plot_filters(run, save=path))
    click.echo(f"test loss {evaluation.loss:.4f}   test {figures_line(evaluation)}\n")
    click.echo(evaluation.report())
    outputs.say()


@click.command()
@MODEL
@click.argument("pictures", nargs=-1, type=click.Path(path_type=pathlib.Path))
@backend_option
@data_options
@click.option(
    "--index",
    type=indices,
    metavar="INDICES",
    help="Test images to use: 7, 0:5 or 3,1,4. [default: 0:10]",
)
@click.option(
    "--as",
    "reading",
    type=click.Choice([DIGIT, IMAGE]),
    help="What PICTURES show: a digit, which is cropped and centred as MNIST's are; or an image, which is "
    "resized. [default: digit for a model that knows MNIST's digits, else image]",
)
@click.option("--show", is_flag=True, help="Print each step of the preparation of PICTURES as characters.")
@json_option(
    "index or file, label, predicted class and probabilities (or outputs) of each image, or target and value"
)
@output_option("--plot", what="Draw each step of the preparation of PICTURES (PNG, SVG or PDF).")
def predict(
    model: pathlib.Path,
    pictures: tuple[pathlib.Path, ...],
    backend: str | None,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    index: slice | list[int] | None,
    reading: str | None,
    show: bool,
    json_path: pathlib.Path | None,
    plot: pathlib.Path | None,
) -> None:
    """Print what a saved MODEL predicts for your own PICTURES, for test images, or for the rows of a table.

    Each predicted class is printed with its probability, or with its output if the model was trained with
    squared_error. A picture of a digit may be a photograph: ink may be dark or bright, the light uneven, and
    the size anything up to 64 million pixels. Without PICTURES, test images are used. Pictures of a folder
    are resized to the size that the model was trained on. A table may lack the target.
    """
    about_data = {"dataset": dataset, "data": data, "max-bytes": max_bytes, "index": index}
    _check_use(pictures, about_data, {"as": reading, "show": show or None, "plot": plot})
    check_distinct(model, data, *pictures, json=json_path, plot=plot)
    if plot is not None:
        plots.check(plot)
    run = xpnet.load(model, xpnet.backend(backend))
    if pictures:
        _predict_pictures(run, pictures, reading, show, json_path, plot)
        return
    test = read_inputs(run, dataset, data, max_bytes)
    results = predictions(run, test, _rows(slice(10) if index is None else index, len(test)))
    outputs = written_json(json_path, results)
    names = run.classes or (test.classes if isinstance(test, Dataset) else None)
    for line in lines_of(results, names):
        click.echo(line)
    outputs.say()


def _check_use(pictures: tuple[pathlib.Path, ...], data: dict[str, Any], own: dict[str, Any]) -> None:
    """Raise unless the options fit pictures of one's own, or test images."""
    wrong = [name for name, value in (data if pictures else own).items() if value is not None]
    if wrong and pictures:
        raise click.UsageError(f"`--{wrong[0]}` is for test images; leave it out, or the pictures")
    if wrong:
        raise click.UsageError(f"`--{wrong[0]}` is for pictures of your own; name one after the model")


def _predict_pictures(
    run: xpnet.Run,
    paths: tuple[pathlib.Path, ...],
    reading: str | None,
    show: bool,
    json_path: pathlib.Path | None,
    plot: pathlib.Path | None,
) -> None:
    steps = steps_of(run, paths, reading)
    results = with_predictions(run, inputs_of(run, steps), [{"file": path} for path, _ in steps])
    outputs = written_json(json_path, results)
    outputs.write("drew", plot, lambda path: plots.plot_steps(dict(steps), save=path))
    if show:
        click.echo(as_text(steps) + "\n")
    for line in lines_of(results, run.classes):
        click.echo(line)
    outputs.say()


def _rows(index: slice | list[int], n: int) -> list[int]:
    try:
        rows = list(range(n)[index]) if isinstance(index, slice) else [range(n)[i] for i in index]
    except (IndexError, ValueError):
        rows = []
    if not rows:
        raise click.UsageError(f"`--index` must select from the {n} test images, 0 to {n - 1}")
    return rows
