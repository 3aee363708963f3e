"""Whether a model takes drawn digits."""

from __future__ import annotations

import math

from xpnet.errors import fitted, shortened
from xpnet.loss import CLASSES
from xpnet.problem import class_count
from xpnet.run import Run

_SHAPE = 28, 28, 1
_MOST_CLASSES = 100  # a page shows all of them


def check_takes_digits(run: Run, name: str) -> None:
    """Raise unless a model, which the caller knows as `name`, classifies grey pictures of 28 x 28 pixels.

    Raises
    ------
    ValueError
    """
    template = (
        "{name} {reason}; draw with a model that classifies grey pictures of 28 x 28 pixels, such as one of "
        "`xpnet train --save model.safetensors`"
    )
    reason = _reason(run)
    if reason:
        raise ValueError(fitted(template, name=repr(name), reason=shortened(reason, 120)))


def _reason(run: Run) -> str:
    """Return why a model does not fit, as the end of a sentence; empty if it does."""
    shape = None if run.inputs is None else run.inputs.shape
    if run.encoding is not None:
        return "was trained on the columns of a table"
    if shape not in (None, _SHAPE):
        return f"was trained on pictures of {_shown(shape)}"
    if run.model.n_in is not None and run.model.n_in != math.prod(_SHAPE):
        return f"takes {run.model.n_in} features"
    try:
        classes = class_count(run.model, (math.prod(_SHAPE),) if run.model.n_in else _SHAPE)
    except ValueError as e:
        return f"does not take such pictures: {e}"
    if run.task != CLASSES:
        return f"predicts {run.task}"
    return f"has {classes} classes, more than fit on the page" if classes > _MOST_CLASSES else ""


def _shown(shape: tuple[int, int, int] | None) -> str:
    height, width, channels = shape or _SHAPE
    return f"{height} x {width} pixels with {channels} channel{'s' * (channels > 1)}"
