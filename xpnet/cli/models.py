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
from xpnet.cli.predictions import lines_of, predictions
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
    check_distinct(json=json_path, **pictures)
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
@backend_option
@data_options
@click.option(
    "--index",
    type=indices,
    metavar="INDICES",
    default="0:10",
    show_default=True,
    help="Test images to use: 7, 0:5 or 3,1,4.",
)
@json_option(
    "index, label, predicted class and probabilities (or outputs) of each image, or targets and values"
)
def predict(
    model: pathlib.Path,
    backend: str | None,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    index: slice | list[int],
    json_path: pathlib.Path | None,
) -> None:
    """Print what a saved MODEL predicts for test images, or for the rows of a table.

    Each predicted class is printed with its probability, or with its output if the model was trained with
    squared_error. Pictures of a folder are resized to the size that the model was trained on. A table may
    lack the target.
    """
    run = xpnet.load(model, xpnet.backend(backend))
    test = read_inputs(run, dataset, data, max_bytes)
    results = predictions(run, test, _rows(index, len(test)))
    outputs = written_json(json_path, results)
    names = run.classes or (test.classes if isinstance(test, Dataset) else None)
    for line in lines_of(results, names):
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
