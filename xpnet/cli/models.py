"""``xpnet evaluate`` and ``xpnet predict``: using a saved model."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import click

import xpnet
from xpnet.cli.options import backend_option, data_options, json_option, read_test, written_json
from xpnet.datasets import Dataset
from xpnet.losses import find_loss
from xpnet.run import Run

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
@json_option("loss, accuracy and confusion matrix")
def evaluate(
    model: pathlib.Path,
    backend: str | None,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    json_path: pathlib.Path | None,
) -> None:
    """Measure a saved MODEL on test images.

    Prints the loss, the accuracy, and precision, recall and F1 of each class.
    """
    run = xpnet.load(model, xpnet.backend(backend))
    test = read_test(run.inputs, dataset, data, max_bytes)
    evaluation = run.evaluate(test)
    results = dataclasses.asdict(evaluation) | {"confusion": evaluation.confusion.tolist()}
    outputs = written_json(json_path, {"backend": run.xp.name, **results})
    click.echo(f"test loss {evaluation.loss:.4f}   test accuracy {evaluation.accuracy:.2%}\n")
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
@json_option("index, label, predicted class and probabilities (or outputs) of each image")
def predict(
    model: pathlib.Path,
    backend: str | None,
    dataset: str | None,
    data: pathlib.Path | None,
    max_bytes: int | None,
    index: slice | list[int],
    json_path: pathlib.Path | None,
) -> None:
    """Print what a saved MODEL predicts for test images.

    Each predicted class is printed with its probability, or with its output if the model was trained with
    squared_error.
    """
    run = xpnet.load(model, xpnet.backend(backend))
    test = read_test(run.inputs, dataset, data, max_bytes)
    results = _predictions(run, test, _rows(index, len(test)))
    outputs = written_json(json_path, results)
    are_probabilities = "probabilities" in results[0]
    click.echo(f"index  label  predicted  {'probability' if are_probabilities else 'output':>11}")
    for result in results:
        figures = result["probabilities" if are_probabilities else "outputs"]
        figure = figures[result["predicted"]] if len(figures) > 1 else figures[0]
        wrong = "" if result["predicted"] == result["label"] else "  wrong"
        click.echo(
            f"{result['index']:5}  {result['label']:5}  {result['predicted']:9}  "
            f"{figure:11{'.2%' if are_probabilities else '.4f'}}{wrong}"
        )
    outputs.say()


def _predictions(run: Run, test: Dataset, rows: list[int]) -> list[dict[str, Any]]:
    """Return the model's probabilities for each image or, if it has none, its outputs."""
    images = test.images[rows]
    if find_loss(run.loss).gives_probabilities(run.model):
        name, figures = "probabilities", run.predict_proba(images)
    else:
        name, figures = "outputs", run.predict_outputs(images)
    return [
        {"index": row, "label": int(test.labels[row]), "predicted": int(predicted), name: own.tolist()}
        for row, predicted, own in zip(rows, run.predict(images), figures, strict=True)
    ]


def _rows(index: slice | list[int], n: int) -> list[int]:
    try:
        rows = list(range(n)[index]) if isinstance(index, slice) else [range(n)[i] for i in index]
    except (IndexError, ValueError):
        rows = []
    if not rows:
        raise click.UsageError(f"`--index` must select from the {n} test images, 0 to {n - 1}")
    return rows
