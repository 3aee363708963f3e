"""The curves of a training: losses, accuracies and learning rates by epoch."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from xpnet.loss import Loss
from xpnet.losses import find_loss
from xpnet.plots.figures import drawn
from xpnet.run import Epoch, Run

# Okabe and Ito's blue, bluish green and vermilion: distinct to colour-blind readers, and as greys in print.
_STYLES = {
    "train": ("training", "o-", "#0072B2"),
    "validation": ("validation", "^-.", "#009E73"),
    "test": ("test", "s--", "#D55E00"),
}
_MOST_MARKED = 50  # epochs; the markers of more would hide the curves


def plot_history(
    epochs: Run | Sequence[Epoch],
    *,
    loss: str | Loss | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a figure of the losses of each epoch and, if there are any, accuracies and learning rates.

    Parameters
    ----------
    epochs : Run or sequence of Epoch
        At least one epoch.
    loss : str or Loss, optional
        The loss that was minimised, for the unit of the axis. If omitted, that of the run; without a run, no
        unit is shown.
    save : str or path, optional
        Where to write the figure; the suffix names the format: PNG, SVG or PDF.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    if isinstance(epochs, Run):
        loss, epochs = epochs.loss if loss is None else loss, epochs.history
    unit = "mean loss" if loss is None else find_loss(loss).unit
    if not epochs:
        raise ValueError("`epochs` is empty, so there is nothing to draw; pass the `history` of a run")
    return drawn(functools.partial(_draw, unit=unit), epochs, save)


def history(epochs: Sequence[Epoch], path: str | os.PathLike[str], *, loss: str | Loss | None = None) -> None:
    """Write what `plot_history` returns to `path`; the suffix names the format: PNG, SVG or PDF."""
    plot_history(epochs, loss=loss, save=path)


def _draw(figure: Any, epochs: Sequence[Epoch], *, unit: str) -> None:
    """Draw a panel of losses and, if the epochs have any, one of accuracies and one of changing rates."""
    accuracies, rates = _accuracies(epochs), _curve(epochs, "lr")
    panels = 1 + bool(accuracies) + (len({*rates}) > 1)
    figure.set_size_inches((6.0, 8.0, 12.0)[panels - 1], 4.0)
    losses, *others = figure.subplots(1, panels, squeeze=False)[0]
    found = {which: _curve(epochs, f"{which}_loss") for which in _STYLES}
    _draw_curves(losses, epochs, found)
    least = min(min(curve, default=0) for curve in found.values())
    losses.set(title=_loss_title(epochs), ylabel=unit, ylim=(0, None) if least >= 0 else None)
    if accuracies:
        _draw_curves(others[0], epochs, accuracies)
        which, curve = [*accuracies.items()][-1]
        title = f"{which.capitalize()} accuracy: {curve[-1]:.2f} % after epoch {epochs[-1].epoch}"
        others[0].set(title=title, ylabel=f"percent of the {' and '.join(accuracies)} samples")
    if len({*rates}) > 1:
        others[-1].plot([e.epoch for e in epochs], rates, "-", color="black")
        others[-1].set(title="Learning rate", ylabel="rate at the end of the epoch", ylim=(0, None))
    for axes in (losses, *others):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def _loss_title(epochs: Sequence[Epoch]) -> str:
    alone = _curve(epochs, "test_loss") == _curve(epochs, "validation_loss") == []
    return f"Training loss: {epochs[-1].train_loss:.4g} after epoch {epochs[-1].epoch}" if alone else "Loss"


def _curve(epochs: Sequence[Epoch], name: str) -> list[float]:
    """Return a figure of each epoch; empty if the epochs do not have it."""
    found = [getattr(epoch, name) for epoch in epochs]
    return [] if None in found else [float(value) for value in found]


def _accuracies(epochs: Sequence[Epoch]) -> dict[str, list[float]]:
    """Return the accuracies that the epochs have, in percent."""
    found = {which: _curve(epochs, f"{which}_accuracy") for which in ("validation", "test")}
    return {which: [100 * share for share in curve] for which, curve in found.items() if curve}


def _draw_curves(axes: Any, epochs: Sequence[Epoch], curves: dict[str, list[float]]) -> None:
    for which, curve in curves.items():
        label, style, colour = _STYLES[which]
        if curve:
            style = style if len(curve) <= _MOST_MARKED else style[1:]
            axes.plot([e.epoch for e in epochs], curve, style, color=colour, label=label)
    if sum(map(bool, curves.values())) > 1:
        axes.legend(frameon=False)
