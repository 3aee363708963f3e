"""Plots of a training, an evaluation, mistakes and filters, as Matplotlib figures that notebooks show."""

from __future__ import annotations

from xpnet.plots.curves import history, plot_history
from xpnet.plots.figures import check, drawn, save
from xpnet.plots.filters import plot_filters
from xpnet.plots.matrix import confusion, plot_confusion
from xpnet.plots.mistakes import plot_mistakes
from xpnet.plots.preparation import plot_steps

__all__ = [
    "check",
    "confusion",
    "drawn",
    "history",
    "plot_confusion",
    "plot_filters",
    "plot_history",
    "plot_mistakes",
    "plot_steps",
    "save",
]
