"""The confusion matrix of an evaluation."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

from xpnet.datasets import Dataset
from xpnet.evaluation import Evaluation
from xpnet.plots.figures import drawn
from xpnet.plots.images import class_name
from xpnet.run import Run

_MOST_NUMBERED = 20  # classes; with more, the numbers in the cells of a confusion matrix would overlap
_MOST_TICKS = 40
_DARK = 0.7  # share of the most mistakes from which white is easier to read than black
# Blue and orange differ to colour-blind readers too; no mistakes are white.
_RIGHT, _WRONG = "#9ECAE1", "Oranges"


def plot_confusion(
    evaluation: Evaluation | Run,
    dataset: Dataset | None = None,
    *,
    save: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a figure of the confusion matrix, with names of the classes if they are known.

    Rows are true classes, columns predicted ones. Correct answers are blue; mistakes are orange, darker ones
    more frequent.

    Parameters
    ----------
    evaluation : Evaluation or Run
        A run is evaluated on `dataset`, which must then be given.
    dataset : Dataset, optional
    save : str or path, optional
        Where to write the figure; the suffix names the format: PNG, SVG or PDF.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the model does not predict classes.
    """
    if isinstance(evaluation, Run):
        if dataset is None:
            raise ValueError(
                "a run was passed without a `dataset`: pass `plot_confusion(run, dataset)`, or an evaluation"
            )
        evaluation = evaluation.evaluate(dataset)
    if evaluation.confusion is None:
        raise ValueError(
            "only predictions of classes have a confusion matrix; this evaluation is of labels or values"
        )
    return drawn(_draw_confusion, evaluation, save)


def confusion(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write what `plot_confusion` returns to `path`; the suffix names the format: PNG, SVG or PDF."""
    plot_confusion(evaluation, save=path)


def _draw_confusion(figure: Any, evaluation: Evaluation) -> None:
    figure.set_size_inches(7.0, 6.0)
    title = f"Test accuracy {evaluation.accuracy:.2%}"
    draw_confusion(figure, evaluation.confusion, title, evaluation.classes)


def draw_confusion(figure: Any, counts: Any, title: str, classes: Sequence[str] | None = None) -> None:
    """Draw a confusion matrix, rows true and columns predicted, on a Matplotlib figure or part of one."""
    n = len(counts)
    mistakes = counts.astype(float)
    mistakes[range(n), range(n)] = float("nan")  # drawn as the axes' background
    most = max(1, counts[mistakes == counts].max(initial=0))
    axes = figure.subplots()
    axes.set_facecolor(_RIGHT)
    image = axes.imshow(mistakes, cmap=_WRONG, vmin=0, vmax=most)
    bar = figure.colorbar(image, label="misclassified test samples (correct ones: blue cells)")
    bar.locator.set_params(integer=True)
    for i, j in itertools.product(range(n), repeat=2) if n <= _MOST_NUMBERED else ():
        color = "white" if mistakes[i, j] > _DARK * most else "black"
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color=color)
    axes.set(title=title, xlabel="predicted class", ylabel="true class")
    ticks = range(0, n, -(-n // _MOST_TICKS))
    names = [class_name(i, classes) for i in ticks]
    axes.set_xticks(ticks, names, rotation=90 if classes else 0)
    axes.set_yticks(ticks, names)
