"""The lessons by name, in the order of the course."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

LESSONS = (
    "first-network",
    "sigmoid",
    "neuron",
    "feedforward",
    "loss",
    "chain-rule",
    "gradient-descent",
    "full-network",
    "mnist-zero",
    "mnist-zero-hidden",
    "mnist-softmax",
    "mnist-improved",
    "deep",
    "cnn",
)


def find_lesson(name: str) -> Any:
    """Return the module of a lesson.

    Raises
    ------
    ValueError
        If there is no such lesson; the message lists all, those with similar names first.
    """
    if name not in LESSONS:
        near = difflib.get_close_matches(name, LESSONS, n=len(LESSONS), cutoff=0.0)
        raise ValueError(f"unknown lesson {name!r}: choose one of {', '.join(near)}")
    return importlib.import_module(f"xpnet.lessons.{name.replace('-', '_')}")
