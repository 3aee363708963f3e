"""What pictures a model takes, and images as its inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.run import Run

_MNIST = "mnist"
_SIDE = 28
_LEAST_SIDE = 8  # rows of fewer features than this squared are hardly images
_DIGITS = tuple("0123456789")


def picture_shape(run: Run) -> tuple[int, int, int]:
    """Return height, width and channels of the pictures that a model takes.

    Raises
    ------
    ValueError
        If it takes other data.
    """
    if run.encoding is not None:
        raise ValueError(
            "the model was trained on a table, so it takes rows of its columns, not pictures; pass a table "
            "with `--data PATH`"
        )
    if run.inputs is not None and run.inputs.shape is not None:
        return run.inputs.shape
    first: Any = run.model.layers[0]
    if all(hasattr(first, name) for name in ("height", "width", "channels", "output_shape")):
        height, width, channels = first.output_shape(None)
        return height, width, channels
    features = run.model.n_in
    if features is None or run.model.takes_images:
        return _SIDE, _SIDE, features or 1
    side = math.isqrt(features)
    if side * side != features or side < _LEAST_SIDE:
        raise ValueError(f"the model takes rows of {features} features, not pictures; pass another model")
    return side, side, 1


def knows_digits(run: Run) -> bool:
    """Return whether a model seems to be trained on images like those of MNIST.

    They have 28 x 28 greys and ten classes without names of their own, or their data set is named "mnist".
    """
    if picture_shape(run) != (_SIDE, _SIDE, 1):
        return False
    if run.inputs is not None and run.inputs.name == _MNIST:
        return True
    return run.model.output_shape((_SIDE, _SIDE, 1)) in ((10,), None) and run.classes in (None, _DIGITS)


def inputs_of(run: Run, images: Any) -> np.ndarray:
    """Return uint8 images as a run's methods take them: scaled like the floats of its training, if any.

    Parameters
    ----------
    run : Run
    images : array_like, shape (n, height, width) or (n, height, width, channels), uint8
    """
    pixels = np.asarray(images, dtype=np.uint8)
    if run.inputs is None or run.inputs.is_pixels:
        return pixels
    low, high = run.inputs.low, run.inputs.high
    return (low + pixels * ((high - low) / 255)).astype(run.inputs.dtype)
