"""Plots of a training and of an evaluation."""

from __future__ import annotations

import functools
import io
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from xpnet.errors import shortened
from xpnet.evaluation import Evaluation
from xpnet.files import write_whole
from xpnet.loss import Loss
from xpnet.losses import find_loss
from xpnet.run import Epoch

# Okabe and Ito's blue and vermilion: distinct to colour-blind readers, and as greys in print.
_TRAIN, _TEST = "#0072B2", "#D55E00"
_MOST_NUMBERED = 20  # classes; with more, the numbers in the cells of a confusion matrix would overlap
_MOST_TICKS = 40
_MOST_OF_A_NAME = 20  # characters of a class's name beside an axis


def check(path: str | os.PathLike[str]) -> None:
    """Raise unless a plot can be written to `path`.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    ValueError
        If Matplotlib does not write files with that suffix.
    """
    formats = _matplotlib().figure.Figure().canvas.get_supported_filetypes()
    suffix = pathlib.Path(path).suffix.lower().removeprefix(".")
    if suffix not in formats:
        raise ValueError(
            f"cannot draw {str(path)!r}: its suffix is {suffix!r}; choose one of {', '.join(sorted(formats))}"
        )


def history(epochs: Sequence[Epoch], path: str | os.PathLike[str], *, loss: str | Loss | None = None) -> None:
    """Plot the loss and the test accuracy of each epoch.

    Parameters
    ----------
    epochs : sequence of Epoch
        At least one.
    path : str or path
        The suffix names the format: PNG, SVG or PDF.
    loss : str or Loss, optional
        The loss that was minimised, for the unit of the axis. If omitted, no unit is shown.
    """
    unit = "mean loss" if loss is None else find_loss(loss).unit
    if not epochs:
        raise ValueError("`epochs` is empty, so there is nothing to draw; pass the `history` of a run")
    check(path)
    save(drawn(functools.partial(_draw_history, unit=unit), epochs), path)


def _draw_history(figure: Any, epochs: Sequence[Epoch], *, unit: str) -> None:
    losses, accuracies = figure.subplots(1, 2)
    numbers = [e.epoch for e in epochs]
    title = "Test accuracy: no test set"
    losses.plot(numbers, [e.train_loss for e in epochs], "o-", color=_TRAIN, label="training")
    if epochs[0].test_loss is not None:
        losses.plot(numbers, [e.test_loss for e in epochs], "s--", color=_TEST, label="test")
        percent = [100 * (e.test_accuracy or 0.0) for e in epochs]
        accuracies.plot(numbers, percent, "s--", color=_TEST)
        title = f"Test accuracy: {percent[-1]:.2f} % after epoch {numbers[-1]}"
    losses.set(title="Loss", xlabel="epoch", ylabel=unit, ylim=(0, None))
    losses.legend(frameon=False)
    accuracies.set(title=title, xlabel="epoch", ylabel="percent of the test images")
    for axes in (losses, accuracies):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def confusion(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Plot the confusion matrix, with names of the classes if they are known.

    Correct answers are pale, so that mistakes stand out.

    Parameters
    ----------
    evaluation : Evaluation
    path : str or path
        The suffix names the format: PNG, SVG or PDF.
    """
    check(path)
    save(drawn(_draw_confusion, evaluation), path)


def _draw_confusion(figure: Any, evaluation: Evaluation) -> None:
    counts = evaluation.confusion
    if counts is None:
        raise ValueError(
            "only predictions of classes have a confusion matrix; this evaluation is of labels or values"
        )
    n = len(counts)
    mistakes = counts.copy()
    mistakes[range(n), range(n)] = 0
    most = max(1, mistakes.max())
    figure.set_size_inches(7.0, 6.0)
    axes = figure.subplots()
    image = axes.imshow(mistakes, cmap="Blues", vmin=0, vmax=most)
    figure.colorbar(image, label="misclassified test images").locator.set_params(integer=True)
    for i, j in itertools.product(range(n), repeat=2) if n <= _MOST_NUMBERED else ():
        color = "white" if mistakes[i, j] > most / 2 else "black"
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color=color)
    axes.set(title=f"Test accuracy {evaluation.accuracy:.2%}", xlabel="predicted class", ylabel="true class")
    ticks = range(0, n, -(-n // _MOST_TICKS))
    names = [_label(i, evaluation.classes) for i in ticks]
    axes.set_xticks(ticks, names, rotation=90 if evaluation.classes else 0)
    axes.set_yticks(ticks, names)


def _label(number: int, classes: Sequence[str] | None) -> str:
    """Return the name of a class, else its number."""
    if classes is None:
        return str(number)
    # Matplotlib reads what is between dollar signs as mathematics.
    return shortened(classes[number], _MOST_OF_A_NAME).replace("$", r"\$")


def drawn(draw: Callable[[Any, Any], object], what: Any) -> Any:
    """Return a Matplotlib figure on which ``draw(figure, what)`` has drawn."""
    figure = _matplotlib().figure.Figure(figsize=(8.0, 4.0), layout="constrained")
    draw(figure, what)
    return figure


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a Matplotlib figure to `path`, whole or not at all; the suffix names the format."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=pathlib.Path(path).suffix.lower().removeprefix("."))
    write_whole(path, picture.getvalue())


def _matplotlib() -> Any:
    # Imported here, because `import xpnet` must not pay for Matplotlib.
    try:
        import matplotlib.figure
    except ImportError as e:
        raise ImportError(
            f"a picture needs Matplotlib: {e}; install it with `pip install 'xpnet[plot]'`"
        ) from e
    return matplotlib
