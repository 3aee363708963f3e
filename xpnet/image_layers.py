"""Layers of images ``(batch, height, width, channels)``, and between these and rows of features."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

from xpnet.checks import choice, count, float_name, set_fields
from xpnet.initializers import INITIALIZERS
from xpnet.layer import (
    Array,
    Params,
    Pullback,
    Shape,
    Unparametrised,
    check_float,
    check_gradient,
    check_rows,
    param,
)
from xpnet.namespace import Namespace
from xpnet.nn.windows import Padding, Pair, Window, padding_option, pair, pool_windows, windows
from xpnet.random import Stream, as_stream


@dataclasses.dataclass(frozen=True)
class Conv2d:
    """Convolution with parameters `weight` and `bias`, see `xpnet.nn.conv2d`.

    `weight` has the shape ``(kernel_height, kernel_width, n_in / groups, n_out)``, and `bias` ``(n_out,)``.
    For sequences, as images of height 1, pass a kernel ``(1, size)``.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of channels.
    kernel_size, stride, dilation : int or pair of int
        For height and width.
    padding : "same", "valid", int or pair of pairs of int
        See `xpnet.nn.windows`.
    groups : int
        As many as `n_in` is the depthwise convolution.
    initializer : str
        How `weight` is drawn, by name: see `xpnet.initializers`. `bias` starts at 0.
    """

    n_in: int
    n_out: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "same"
    dilation: Pair = 1
    groups: int = 1
    initializer: str = "he_normal"
    takes_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        set_fields(
            self,
            **dict.fromkeys(("n_in", "n_out", "groups"), count),
            **dict.fromkeys(("kernel_size", "stride", "dilation"), pair),
            padding=padding_option,
            initializer=choice(INITIALIZERS),
        )
        if self.n_in % self.groups or self.n_out % self.groups:
            raise ValueError(
                f"`groups` must divide `n_in` and `n_out`, got {self.groups} for {self.n_in} and {self.n_out}"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        height, width = pair("kernel_size", self.kernel_size)
        return {"weight": (height, width, self.n_in // self.groups, self.n_out), "bias": (self.n_out,)}

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        return (*_lengths(of_image(shape, self.n_in), self._windows), self.n_out)

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return `weight` and `bias` as arrays of `xp`."""
        dtype = float_name(xp, dtype)
        shape = height, width, channels, _ = self.shapes["weight"]
        draw, size = INITIALIZERS[self.initializer], height * width
        weight = draw(as_stream(seed), size * channels, size * self.n_out // self.groups, shape)
        return {
            "weight": xp.asarray(weight.astype(dtype)),
            "bias": xp.zeros((self.n_out,), dtype=getattr(xp, dtype)),
        }

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the convolution, shape (batch, out_height, out_width, n_out), and its pullback."""
        check_images(xp, x, self.n_in)
        self.output_shape(x.shape[1:])
        weight, bias = (param(xp, params, name, shape, x) for name, shape in self.shapes.items())
        options = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        y = xp.nn.conv2d(x, weight, bias, **options)

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, y)
            dx, d_weight, d_bias = xp.nn.conv2d_backward(
                x, weight, dy, **options, input_gradient=input_gradient
            )
            return dx, {"weight": d_weight, "bias": d_bias}

        return y, pullback

    def _windows(self, lengths: tuple[int, int]) -> tuple[Window, Window]:
        options = {name: getattr(self, name) for name in ("stride", "padding", "dilation")}
        return windows(lengths, self.kernel_size, **options)


@dataclasses.dataclass(frozen=True)
class Pool2d(Unparametrised):
    """Pooling; a subclass names its function of `nn`.

    Parameters
    ----------
    size : int or pair of int
        Height and width of a window.
    stride : int or pair of int, optional
        From one window to the next; if omitted, that of windows side by side: `size`.
    padding : "same", "valid", int or pair of pairs of int
        See `xpnet.nn.windows`.
    """

    size: Pair = 2
    stride: Pair | None = None
    padding: Padding = "valid"
    takes_images: ClassVar[bool] = True
    reads_output: ClassVar[bool] = False
    function: ClassVar[str]

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.size)
        set_fields(self, size=pair, stride=pair, padding=padding_option)

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        image = of_image(shape)
        return (*_lengths(image, lambda lengths: pool_windows(lengths, **self._options)), image[2])

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape (batch, out_height, out_width, channels), and its pullback."""
        check_images(xp, x)
        self.output_shape(x.shape[1:])
        y = getattr(xp.nn, self.function)(x, **self._options)
        kept = (x, y) if self.reads_output else (x,)
        backward = getattr(xp.nn, f"{self.function}_backward")
        return y, _reshaping(xp, y, lambda dy: backward(*kept, dy, **self._options))

    @property
    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("size", "stride", "padding")}


@dataclasses.dataclass(frozen=True)
class MaxPool2d(Pool2d):
    """The largest of each window, by channel, see `xpnet.nn.max_pool2d`; options as of `Pool2d`."""

    function = "max_pool2d"
    reads_output = True


@dataclasses.dataclass(frozen=True)
class AvgPool2d(Pool2d):
    """The mean of each window, by channel, see `xpnet.nn.avg_pool2d`; options as of `Pool2d`."""

    function = "avg_pool2d"


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool2d(Unparametrised):
    """The mean of each channel over all of the image: rows of as many features as channels."""

    takes_images: ClassVar[bool] = True

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        return of_image(shape)[2:]

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape (batch, channels), and its pullback."""
        check_images(xp, x)
        y = xp.nn.global_avg_pool2d(x)
        return y, _reshaping(xp, y, lambda dy: xp.nn.global_avg_pool2d_backward(x, dy))


@dataclasses.dataclass(frozen=True)
class Flatten(Unparametrised):
    """Images as rows of features, pixel by pixel."""

    takes_images: ClassVar[bool] = True

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        known = [length for length in of_image(shape) if length is not None]
        return (math.prod(known) if len(known) == 3 else None,)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape (batch, height * width * channels), and its pullback."""
        check_images(xp, x)
        y = xp.nn.flatten(x)
        return y, _reshaping(xp, y, lambda dy: xp.nn.flatten_backward(x, dy))


@dataclasses.dataclass(frozen=True)
class Unflatten(Unparametrised):
    """Rows of features as images, such as those of a data set: the reverse of `Flatten`.

    Parameters
    ----------
    height, width, channels : int
    """

    height: int
    width: int
    channels: int = 1

    def __post_init__(self) -> None:
        set_fields(self, height=count, width=count, channels=count)

    @property
    def n_in(self) -> int:
        """The number of features of a row."""
        return self.height * self.width * self.channels

    def output_shape(self, shape: Shape | None) -> Shape:
        """Return the shape of an output."""
        return self.height, self.width, self.channels

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape (batch, height, width, channels), and its pullback."""
        check_rows(xp, x, self.n_in)
        shape = self.height, self.width, self.channels
        y = xp.nn.unflatten(x, shape=shape)
        return y, _reshaping(xp, y, lambda dy: xp.nn.unflatten_backward(dy, shape=shape))


LAYERS = Conv2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d, Flatten, Unflatten


def _reshaping(xp: Namespace, y: Array, backward: Callable[[Array], Array]) -> Pullback:
    """Return the pullback of a layer without parameters whose output has another shape than its input."""

    def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
        check_gradient(xp, dy, y)
        return (backward(dy) if input_gradient else None), {}

    return pullback


def check_images(xp: Namespace, x: Array, channels: int | None = None) -> None:
    """Raise unless `x` is a batch of images with so many channels."""
    check_float(xp, x)
    if x.ndim != 4 or 0 in x.shape or channels not in (None, x.shape[3]):
        raise ValueError(
            f"`x` has shape {tuple(x.shape)}, but this layer takes images "
            f"(batch, height, width, {channels or 'channels'})"
        )


def of_image(shape: Shape | None, channels: int | None = None) -> Shape:
    """Return a shape as that of an image, or raise ValueError if it is none with so many channels."""
    found = (None, None, channels) if shape is None else tuple(shape)
    if len(found) != 3 or (None not in (channels, found[2]) and channels != found[2]):
        raise ValueError(f"takes images (height, width, {channels or 'channels'}), but is given {found}")
    return found


def _lengths(image: Shape, of: Callable[[tuple[int, int]], tuple[Window, Window]]) -> Shape:
    """Return height and width of an output, None if those of the image are not known."""
    height, width, _ = image
    if height is None or width is None:
        return None, None
    rows, columns = of((height, width))
    return rows.out, columns.out
