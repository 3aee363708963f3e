"""Well-known networks of images, ready to train."""

from __future__ import annotations

from typing import Any

from xpnet import checks
from xpnet.image_layers import Conv2d, Flatten, MaxPool2d, Unflatten
from xpnet.layers import ACTIVATIONS, Linear
from xpnet.models import Sequential

# Pixels: 6 after the first pooling, 2 after the second convolution, 1 after the second pooling.
_SHORTEST = 12


def lenet5(
    n_classes: int = 10, *, shape: tuple[int, int, int] = (28, 28, 1), activation: str = "relu"
) -> Sequential:
    """Return a convolutional network in the form of LeNet-5, which returns logits.

    Two convolutions of 5 x 5 pixels, with 6 and 16 filters, each followed by pooling, and three linear
    layers, as in Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86 (1998). It differs in what has become usual since: ReLU instead
    of a scaled tanh, pooling by the maximum instead of a mean with trained weights, filters of the second
    convolution that read all channels, and softmax with cross-entropy instead of distances to fixed patterns.

    Parameters
    ----------
    n_classes : int
    shape : tuple of int
        Height, width and channels of an image; height and width are at least 12.
    activation : str
        Follows every layer with parameters but the last: an elementwise activation, by its name in
        `xpnet.nn`.
    """
    height, width, channels = _image(shape)
    hidden: Any = ACTIVATIONS[checks.choice(ACTIVATIONS)("activation", activation)]
    drawn = hidden.initializer
    rows, columns = ((length // 2 - 4) // 2 for length in (height, width))
    return Sequential(
        Unflatten(height, width, channels),
        Conv2d(channels, 6, 5, padding="same", initializer=drawn),
        hidden(),
        MaxPool2d(2),
        Conv2d(6, 16, 5, padding="valid", initializer=drawn),
        hidden(),
        MaxPool2d(2),
        Flatten(),
        Linear(rows * columns * 16, 120, drawn),
        hidden(),
        Linear(120, 84, drawn),
        hidden(),
        Linear(84, checks.count("n_classes", n_classes), drawn),
    )


def _image(shape: Any) -> tuple[int, int, int]:
    """Return the height, width and channels of an image that is large enough, or raise a ValueError."""
    found = checks.shape(shape)
    if len(found) != 3:
        raise ValueError(f"`shape` must be (height, width, channels), got {found}")
    height, width, channels = found
    if min(height, width) < _SHORTEST:
        raise ValueError(
            f"LeNet-5 takes images of at least {_SHORTEST} x {_SHORTEST} pixels, got {height} x {width}; "
            "pass larger images, or make a `Sequential` with smaller kernels"
        )
    return height, width, checks.count("channels", channels)
