"""What ``xpnet predict`` writes: predictions beside what is true, as records and as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from xpnet.datasets import Dataset
from xpnet.errors import shortened
from xpnet.loss import CLASSES, LABELS
from xpnet.losses import find_loss
from xpnet.problem import aligned
from xpnet.run import Run

_MOST_OF_A_NAME = 30  # characters of a class's name in a table

_MOST_OF_A_FILE = 40  # characters of a path
_MOST_GUESSES = 3  # the predicted class and the next


def predictions(run: Run, test: Dataset | numpy.ndarray, rows: list[int]) -> list[dict[str, Any]]:
    """Return for each row what is predicted, with probabilities or outputs, and what is true, if known."""
    inputs = test.inputs[rows] if isinstance(test, Dataset) else test[rows]
    results: list[dict[str, Any]] = [{"index": row} for row in rows]
    if isinstance(test, Dataset):
        _add(results, *_truth(run, test, rows))
    return with_predictions(run, inputs, results)


def with_predictions(run: Run, inputs: numpy.ndarray, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `results`, one for each input, with what is predicted, and probabilities or outputs."""
    found = run.predict(inputs)
    if run.predicts_names and run.classes:
        found = numpy.array([run.classes.index(name) for name in found.tolist()])
    _add(results, "predicted", found)
    if run.task != CLASSES and run.task != LABELS:
        return results
    if find_loss(run.loss).gives_probabilities(run.model):
        _add(results, "probabilities", run.predict_proba(inputs))
    else:
        _add(results, "outputs", run.predict_outputs(inputs))
    return results


def lines_of(results: list[dict[str, Any]], classes: Sequence[str] | None) -> list[str]:
    """Return predictions as lines, with the names of the classes beside their numbers."""
    names = [shortened(name, _MOST_OF_A_NAME) for name in classes or ()]
    columns = [name for name in ("label", "target", "predicted") if name in results[0]]
    cells = [[_cell(result[name], names) for name in columns] for result in results]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    figure = _figure(results[0])
    header = [f"{name:>{width}}" for name, width in zip(columns, widths, strict=True)]
    firsts = _firsts(results)
    lines = [
        "  ".join([firsts[0], *header, *([f"{figure:>11}"] if figure else []), *_next_header(results[0])])
    ]
    for first, result, own in zip(firsts[1:], results, cells, strict=True):
        parts = [f"{text:>{width}}" for text, width in zip(own, widths, strict=True)]
        wrong = "  wrong" if result.get("label", result["predicted"]) != result["predicted"] else ""
        lines.append("  ".join([first, *parts, *_shown(result, figure), *_next(result, names)]) + wrong)
    return lines


def _firsts(results: list[dict[str, Any]]) -> list[str]:
    """Return the first column with its header: indices, or files."""
    if "index" in results[0]:
        return ["index", *(f"{result['index']:5}" for result in results)]
    files = [shortened(result["file"], _MOST_OF_A_FILE) for result in results]
    width = max(map(len, ["file", *files]))
    return [f"{text:<{width}}" for text in ("file", *files)]


def _next_header(result: dict[str, Any]) -> list[str]:
    return ["next guesses"] if _next(result, []) else []


def _next(result: dict[str, Any], names: list[str]) -> list[str]:
    """Return the next best guesses for a file of one's own; none for others, or without probabilities."""
    shares = result.get("probabilities", ())
    if "file" not in result or not isinstance(result["predicted"], int) or len(shares) < 2:
        return []
    order = sorted(range(len(shares)), key=lambda i: -shares[i])[1:_MOST_GUESSES]
    return [", ".join(f"{_cell(i, names)} {shares[i]:.2%}" for i in order)]


def _add(results: list[dict[str, Any]], name: str, values: numpy.ndarray) -> None:
    for result, value in zip(results, values.tolist(), strict=True):
        result[name] = value


def _truth(run: Run, test: Dataset, rows: list[int]) -> tuple[str, numpy.ndarray]:
    """Return what is true under its name: class indices of the model, or targets."""
    test = aligned("dataset", test, run.classes)
    return ("label" if test.has_labels else "target"), test.targets[rows]


def _figure(result: dict[str, Any]) -> str:
    """Return the name of the figure beside a predicted class; empty if there is none."""
    if not isinstance(result["predicted"], int):
        return ""
    return "probability" if "probabilities" in result else "output"


def _shown(result: dict[str, Any], figure: str) -> list[str]:
    if not figure:
        return []
    figures = result["probabilities" if figure == "probability" else "outputs"]
    value = figures[result["predicted"]] if len(figures) > 1 else figures[0]
    return [f"{value:11{'.2%' if figure == 'probability' else '.4f'}}"]


def _cell(value: Any, names: list[str]) -> str:
    if isinstance(value, list):
        return ", ".join(f"{number:.5g}" for number in value)
    return f"{value} {names[value]}" if value < len(names) else str(value)
