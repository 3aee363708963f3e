"""The course "Neural Network from Scratch" by Subash Gandyer, one runnable module per lesson, in order.

A lesson has ``run(xp, *, say=print, ...)``, which prints its progress and returns its results by name. A
lesson with a plot also has ``draw(figure, figures)``, which draws it on a Matplotlib figure. Every call of
`xp.nn` in a lesson is checked (see `xpnet.backend`); `fit` checks its own first step.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xpnet.lessons.catalogue import LESSONS, find_lesson

if TYPE_CHECKING:
    from xpnet.lessons import (
        chain_rule,
        cnn,
        deep,
        feedforward,
        first_network,
        full_network,
        gradient_descent,
        loss,
        mnist_improved,
        mnist_softmax,
        mnist_zero,
        mnist_zero_hidden,
        neuron,
        sigmoid,
    )

__all__ = [
    "LESSONS",
    "chain_rule",
    "cnn",
    "deep",
    "feedforward",
    "find_lesson",
    "first_network",
    "full_network",
    "gradient_descent",
    "loss",
    "mnist_improved",
    "mnist_softmax",
    "mnist_zero",
    "mnist_zero_hidden",
    "neuron",
    "sigmoid",
]

if not TYPE_CHECKING:  # For a type checker, any name not listed above is an error.

    def __getattr__(name: str) -> Any:
        # A lesson is loaded when it is first used.
        if name.replace("_", "-") in LESSONS:
            return importlib.import_module(f"xpnet.lessons.{name}")
        raise AttributeError(f"module 'xpnet.lessons' has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
