"""Plots of a training, an evaluation, mistakes and filters, as Matplotlib figures that notebooks show."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from typing import Any

from xpnet import curves
from xpnet.datasets import Dataset
from xpnet.evaluation import Evaluation
from xpnet.figures import check, drawn, save
from xpnet.filters import plot_filters
from xpnet.image_plots import class_name
from xpnet.mistakes import plot_mistakes
from xpnet.run import Epoch, Run

__all__ = [
    "check",
    "confusion",
    "drawn",
    "history",
    "plot_confusion",
    "plot_filters",
    "plot_history",
    "plot_mistakes",
    "save",
]

_MOST_NUMBERED = 20  # classes; with more, the numbers in the cells of a confusion matrix would overlap
_MOST_TICKS = 40
_DARK = 0.7  # share of the most mistakes from which white is easier to read than black
_RIGHT = "0.9"  # a light grey, which is not in the scale of the mistakes


def plot_history(
    epochs: Run | Sequence[Epoch],
    *,
    loss: Any = None,
    save: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a figure of the losses of each epoch and, if there are any, accuracies and learning rates.

    Parameters
    ----------
    epochs : Run or sequence of Epoch
        At least one epoch.
    loss : str, optional
        Name of the loss that was minimised, for the unit of the axis. If omitted, that of the run; without a
        run, no unit is shown.
    save : str or path, optional
        Where to write the figure; the suffix names the format: PNG, SVG or PDF.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    if isinstance(epochs, Run):
        loss, epochs = epochs.loss if loss is None else loss, epochs.history
    unit = curves.unit(loss)
    if not epochs:
        raise ValueError("`epochs` is empty, so there is nothing to draw; pass the `history` of a run")
    return drawn(functools.partial(curves.draw, unit=unit), epochs, save)


def history(epochs: Sequence[Epoch], path: str | os.PathLike[str], *, loss: str | None = None) -> None:
    """Write what `plot_history` returns to `path`; the suffix names the format: PNG, SVG or PDF."""
    plot_history(epochs, loss=loss, save=path)


def plot_confusion(
    evaluation: Evaluation | Run,
    dataset: Dataset | None = None,
    *,
    save: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a figure of the confusion matrix, with names of the classes if they are known.

    Mistakes are blue, darker ones more frequent; correct answers are grey, so that mistakes stand out.

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
    if getattr(evaluation, "confusion", None) is None:
        raise ValueError(
            f"there is no confusion matrix in {type(evaluation).__name__}: it takes an evaluation of a model "
            "that predicts classes, or such a run with a data set"
        )
    return drawn(_draw_confusion, evaluation, save)


def confusion(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write what `plot_confusion` returns to `path`; the suffix names the format: PNG, SVG or PDF."""
    plot_confusion(evaluation, save=path)


def _draw_confusion(figure: Any, evaluation: Evaluation) -> None:
    counts = evaluation.confusion
    n = len(counts)
    mistakes = counts.astype(float)
    mistakes[range(n), range(n)] = float("nan")  # drawn as the axes' background
    most = max(1, counts[mistakes == counts].max(initial=0))
    figure.set_size_inches(7.0, 6.0)
    axes = figure.subplots()
    axes.set_facecolor(_RIGHT)
    image = axes.imshow(mistakes, cmap="Blues", vmin=0, vmax=most)
    bar = figure.colorbar(image, label="misclassified test samples (correct ones: grey cells)")
    bar.locator.set_params(integer=True)
    for i, j in itertools.product(range(n), repeat=2) if n <= _MOST_NUMBERED else ():
        color = "white" if mistakes[i, j] > _DARK * most else "black"
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color=color)
    axes.set(title=f"Test accuracy {evaluation.accuracy:.2%}", xlabel="predicted class", ylabel="true class")
    ticks = range(0, n, -(-n // _MOST_TICKS))
    names = [class_name(i, evaluation.classes) for i in ticks]
    axes.set_xticks(ticks, names, rotation=90 if evaluation.classes else 0)
    axes.set_yticks(ticks, names)
