"""The lessons by name, in the order of the course, and how long they take."""

from __future__ import annotations

import difflib
import importlib
import re
from typing import Any

from xpnet.errors import shortened

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


# Seconds that `xpnet lesson NAME` takes from start to end with compiled kernels on disk. Those of the short
# lessons were measured as a whole, those of the long ones by their fastest iterations or epochs.
MACHINE = "2 busy cores of an AMD EPYC"
_NUMPY = (9, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 2, 35, 560, 870, 20, 210, 80)
_NUMBA = (5, 2, 0.4, 0.4, 2, 1, 1, 2, 35, 350, 700, 15, 120, 20)
SECONDS = {
    "numpy": dict(zip(LESSONS, _NUMPY, strict=True)),
    "numba": dict(zip(LESSONS, _NUMBA, strict=True)),
}


def duration(seconds: float) -> str:
    """Return a rough duration with its unit: seconds, or minutes from 100 seconds on."""
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:g} s"


def lesson_name(lesson: str | int) -> str:
    """Return the name of a lesson, which may be its number: ``5`` and ``"5"`` are the fifth.

    Raises
    ------
    ValueError
        If there is no such lesson; the message says which numbers there are, or lists all names, those that
        are similar first.
    """
    asked = str(lesson)
    if re.fullmatch(r"[-+]?[0-9]+", asked):
        number = asked.lstrip("0")
        if number not in map(str, range(1, len(LESSONS) + 1)):
            raise ValueError(
                f"there is no lesson {shortened(asked, 20)}: choose a number from 1 to {len(LESSONS)}"
            )
        return LESSONS[int(number) - 1]
    if asked not in LESSONS:
        near = difflib.get_close_matches(asked, LESSONS, n=len(LESSONS), cutoff=0.0)
        raise ValueError(f"unknown lesson {asked!r}: choose one of {', '.join(near)}")
    return asked


def find_lesson(lesson: str | int) -> Any:
    """Return the module of a lesson by its name or number.

    Raises
    ------
    ValueError
        See `lesson_name`.
    """
    return importlib.import_module(f"xpnet.lessons.{lesson_name(lesson).replace('-', '_')}")
