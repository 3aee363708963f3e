"""A person's own pictures for ``xpnet predict``: read as digits or as images, and shown step by step."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

import xpnet
from xpnet import pictures
from xpnet.run import Run

if TYPE_CHECKING:
    from xpnet.handwriting import Step

# xpnet.handwriting is imported when it is used, because other commands must not pay for it.
Picture: TypeAlias = "tuple[str, tuple[Step, ...]]"
DIGIT, IMAGE = "digit", "image"
_CELLS = 28  # most pixels of a side that are shown in a terminal, each as two characters


def steps_of(run: Run, paths: Sequence[pathlib.Path], reading: str | None) -> list[Picture]:
    """Return the path of each picture, and the picture after each step of its preparation.

    Parameters
    ----------
    run : Run
    paths : sequence of paths
    reading : {"digit", "image", None}
        Whether a picture shows a digit, or is an image that is resized. If None, what the model was trained
        on says which.
    """
    shape = xpnet.handwriting.picture_shape(run)
    if reading is None:
        reading = DIGIT if xpnet.handwriting.knows_digits(run) else IMAGE
    if reading == DIGIT and shape[2] != 1:
        raise ValueError(
            f"the model takes pictures with {shape[2]} channels, and a digit has one; leave out `--as digit`"
        )
    return [(os.fspath(path), _steps(path, shape, reading)) for path in paths]


def _steps(path: pathlib.Path, shape: tuple[int, int, int], reading: str) -> tuple[Step, ...]:
    height, width, channels = shape
    if reading == IMAGE:
        image = xpnet.handwriting.whole(path, (height, width), channels)
        image = image if channels > 1 else image[..., 0]
        return (xpnet.handwriting.Step(f"resized to {height} x {width}", image),)
    picture = xpnet.handwriting.photograph(path)
    try:
        return xpnet.handwriting.steps(picture, (height, width))
    except ValueError as e:
        raise xpnet.handwriting.naming(path, e) from e


def inputs_of(run: Run, steps: Iterable[Picture]) -> np.ndarray:
    """Return what the model gets for each picture."""
    return xpnet.handwriting.inputs_of(run, [own[-1].image for _, own in steps])


def as_text(steps: Iterable[Picture]) -> str:
    """Return the steps as characters, one below another; brighter pixels have darker characters."""
    parts = []
    for path, own in steps:
        for number, step in enumerate(own, 1):
            height, width = step.image.shape[:2]
            parts.append(f"{path}, step {number} of {len(own)}: {step.name} ({height} x {width})")
            parts += ["".join(c * 2 for c in line).rstrip() for line in pictures.as_text(_small(step.image))]
    return "\n".join(parts)


def _small(image: np.ndarray) -> np.ndarray:
    grey = image if image.ndim == 2 else image[..., :3].mean(axis=2)
    return xpnet.handwriting.fit(grey / 255, min(_CELLS, max(grey.shape)))
