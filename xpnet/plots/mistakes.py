"""Figures of images that a model takes for another class."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from xpnet import checks, reprs
from xpnet.datasets import Dataset
from xpnet.loss import CLASSES
from xpnet.losses import find_loss
from xpnet.plots.figures import drawn
from xpnet.plots.images import class_name, draw_images, image_shape
from xpnet.problem import aligned
from xpnet.run import Run


def plot_mistakes(
    run: Run,
    dataset: Dataset,
    *,
    n: int = 16,
    shape: Any = None,
    save: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a figure of misclassified images with their true and predicted classes.

    If the outputs are probabilities, that of the predicted class is shown, and the most probable mistakes
    come first; otherwise they have the order of the data set.

    Parameters
    ----------
    run : Run
    dataset : Dataset
    n : int
        Most images to draw.
    shape : tuple of int, optional
        (height, width) or (height, width, channels) of images that are rows of features. If omitted, that of
        the model's `Unflatten`, or a square from 8 x 8 features on.
    save : str or path, optional
        Where to write the figure; the suffix names the format: PNG, SVG or PDF.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the model does not predict classes, or the samples are no images with 1 or 3 channels.
    """
    most = checks.count("n", n)
    if run.task != CLASSES:
        raise ValueError(f"this run predicts {run.task}; only predicted classes can be mistakes")
    image = image_shape(dataset.inputs.shape[1:], run.model, shape)
    if image[2] not in (1, 3):
        raise ValueError(f"images of {image[2]} channels cannot be shown; pass images with 1 or 3")
    true, predicted = _true(run, dataset), _predicted(run, dataset)
    wrong = np.flatnonzero(predicted != true)
    shares = _shares(run, dataset, predicted, wrong)
    order = np.argsort(-shares, kind="stable")[:most]
    shown = wrong[order]
    captions = [
        _caption(run.classes or dataset.classes, int(true[i]), int(predicted[i]), share)
        for i, share in zip(shown, shares[order], strict=True)
    ]
    title = f"{reprs.counted(len(wrong), 'mistake')} in {len(dataset):,} samples"
    if len(shown) < len(wrong):
        title += f"; shown are {'the most probable' if shares.any() else 'the first'} {len(shown)}"
    colours = _as_colours(dataset.inputs[shown].reshape(len(shown), *image))
    return drawn(functools.partial(draw_images, title=title, captions=captions), colours, save)


def _true(run: Run, dataset: Dataset) -> np.ndarray:
    """Return the true classes as the model numbers them, shape (n,)."""
    targets = aligned("dataset", dataset, run.classes).targets
    if targets.ndim == 1:
        return targets
    return targets[:, 0] > 0.5 if targets.shape[1] == 1 else targets.argmax(axis=1)


def _predicted(run: Run, dataset: Dataset) -> np.ndarray:
    """Return the predicted classes by their numbers, shape (n,)."""
    found = run.predict(dataset)
    if found.dtype.kind in "iu" or run.classes is None:
        return found
    return np.array([run.classes.index(name) for name in found])


def _shares(run: Run, dataset: Dataset, predicted: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes that are predicted for these rows; 0 if there are none."""
    if len(rows) == 0 or not find_loss(run.loss).gives_probabilities(run.model):
        return np.zeros(len(rows))
    return run.predict_proba(dataset.inputs[rows])[np.arange(len(rows)), predicted[rows]]


def _caption(classes: Any, true: int, predicted: int, share: float) -> str:
    percent = f" ({share:.1%})" if share else ""
    return f"true: {class_name(true, classes)}\npredicted: {class_name(predicted, classes)}{percent}"


def _as_colours(images: np.ndarray) -> np.ndarray:
    """Return images (n, height, width, channels) as colours in [0, 1], bright where they are large."""
    if images.dtype == np.uint8:
        colours = images / 255
    else:
        low, high = (images.min(), images.max()) if images.size else (0.0, 1.0)
        colours = (images - low) / ((high - low) or 1.0)
    return np.broadcast_to(colours, (*images.shape[:3], 3))
