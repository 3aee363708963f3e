"""Layers that change images at random in training, and return them as they are in use."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from xpnet.checks import count, set_fields
from xpnet.image_layers import check_images, of_image
from xpnet.layer import Array, Params, Pullback, Shape, Unparametrised, through
from xpnet.namespace import Namespace
from xpnet.random import Stream


@dataclasses.dataclass(frozen=True)
class RandomShift(Unparametrised):
    """In training, images each moved by whole pixels at random, with zeros at the edges.

    Without a `stream`, as in inference, it returns its input. One seed gives the same moves on every backend;
    see `Stream.at`.

    Parameters
    ----------
    most : int
        Moves in height and in width are in ``[-most, most]``.
    """

    most: int = 2
    takes_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        set_fields(self, most=count)

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output, which is that of the input."""
        return of_image(shape)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        check_images(xp, x)
        if stream is None:
            return x, through(xp, lambda _, dy: dy, x)
        (key, step), options = stream.next_key(), {"most": self.most, "first": stream.first_row}
        y = xp.nn.random_shift(x, key, step, **options)
        return y, through(xp, lambda _, dy: xp.nn.random_shift_backward(dy, key, step, **options), y)


@dataclasses.dataclass(frozen=True)
class RandomFlip(Unparametrised):
    """In training, images each mirrored, left for right, with probability one half.

    Without a `stream`, as in inference, it returns its input. One seed gives the same choices on every
    backend; see `Stream.at`.
    """

    takes_images: ClassVar[bool] = True

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output, which is that of the input."""
        return of_image(shape)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        check_images(xp, x)
        if stream is None:
            return x, through(xp, lambda _, dy: dy, x)
        (key, step), first = stream.next_key(), stream.first_row
        y = xp.nn.random_flip(x, key, step, first=first)
        return y, through(xp, lambda _, dy: xp.nn.random_flip_backward(dy, key, step, first=first), y)


LAYERS = RandomShift, RandomFlip
