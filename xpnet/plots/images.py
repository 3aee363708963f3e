"""Images in rows on a figure, and which shape rows of features have as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpnet import checks, pictures
from xpnet.errors import shortened

_MOST_OF_A_NAME = 20  # characters of a class's name beside an axis or above an image
_LEAST_SIDE = 8  # rows of fewer features than this squared are hardly images
_COLUMNS = 8
# Inches: an image, a character and a line of a caption, and the widest figure.
_SIDE, _CHARACTER, _LINE, _WIDEST = 1.3, 0.075, 0.17, 12.0


def class_name(number: int, classes: Sequence[str] | None) -> str:
    """Return the name of a class, else its number."""
    if classes is None:
        return str(number)
    # Matplotlib reads what is between dollar signs as mathematics.
    return shortened(classes[number], _MOST_OF_A_NAME).replace("$", r"\$")


def draw_images(
    figure: Any, images: Sequence[Any], *, title: str, captions: Sequence[str], **options: Any
) -> None:
    """Draw images of one size in rows on a figure, which gets a size that fits them and their captions.

    For `options` see `pictures.draw_images`.
    """
    if not len(images):
        figure.set_size_inches(6.0, 1.0)
        figure.suptitle(title, fontsize=10)
        return
    lines = [line for caption in captions for line in caption.split("\n")]
    side = max(_SIDE, _CHARACTER * max(map(len, lines)))
    columns = min(_COLUMNS, int(_WIDEST / side), math.ceil(math.sqrt(2 * len(images))))
    width = max(6.0, columns * side + 1.0)
    height, length = images[0].shape[:2]
    row = width / columns * height / length + _LINE * (len(lines) / len(captions) + 1)
    figure.set_size_inches(width, row * -(-len(images) // columns) + 2 * _LINE)
    pictures.draw_images(figure, images, title, columns=columns, captions=captions, **options)


def image_shape(found: tuple[int, ...], model: Any, shape: Any) -> tuple[int, int, int]:
    """Return the shape of images: as they are, as asked, as the model makes them, or square.

    Parameters
    ----------
    found : tuple of int
        The shape of a sample, which may be a row of features.
    model : Sequential
    shape : tuple of int or None
        What the caller says about rows of features.

    Raises
    ------
    ValueError
        If nothing says that they are images, or if they have another number of features.
    """
    if len(found) > 1:
        return completed(found)
    (features,) = found
    first, side = model.layers[0], math.isqrt(features)
    if shape is None and hasattr(first, "height"):
        shape = first.output_shape(None)
    elif shape is None and side * side == features and side >= _LEAST_SIDE:
        shape = side, side
    if shape is None:
        raise ValueError(
            f"samples are rows of {features} features, which cannot be shown as images; if they are images, "
            "pass `shape=(height, width)`"
        )
    image = completed(shape)
    if math.prod(image) != features:
        raise ValueError(
            f"images of shape {image} have {math.prod(image)} features, but samples have {features}; "
            "pass `shape=(height, width)` of the images"
        )
    return image


def completed(shape: Any) -> tuple[int, int, int]:
    """Return height, width and channels of an image that may have no axis for one channel."""
    lengths = checks.shape(shape)
    if len(lengths) not in (2, 3) or 0 in lengths:
        raise ValueError(f"`shape` must be (height, width) or (height, width, channels), got {lengths}")
    height, width, channels = (*lengths, 1)[:3]
    return height, width, channels
