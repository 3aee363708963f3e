"""The whole numbers of a convolution, as structs of `convolution.cu`, and which kernels compute it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy

from xpnet.nn import windows
from xpnet.nn.windows import Window

Array = Any

# Counted, not measured. For 16 outputs, our kernels at the rate of `linear` (4 TFLOP/s) would meet cuBLAS (29
# TFLOP/s), with windows written and read at 4 TB/s and two more kernels to start, between 20 and 40 million;
# the rates are those of an NVIDIA H200. The second convolution of LeNet-5 has 31 million with batch 128.
LARGEST_CONVOLUTION = 2**25
"""Multiplications in the largest convolution by kernels of ours; cuBLAS takes larger ones without groups."""

# 1 GiB of float32: a larger matrix of windows is not worth its memory.
LARGEST_WINDOWS = 2**28
"""Numbers in the largest matrix of windows."""

_AXIS = numpy.dtype(
    [(name, "int32") for name in ("from", "to", "size", "stride", "dilation", "before", "spread")]
)
_STEPS = "groups", "channels", "outputs", "by_channel", "by_output", "by_group"
_CONVOLUTION = numpy.dtype([("rows", _AXIS), ("columns", _AXIS), *((name, "int32") for name in _STEPS)])


class Shapes(NamedTuple):
    """The whole numbers of a convolution.

    Attributes
    ----------
    over : tuple of Window
    groups, channels, outputs : int
        The last two of one group.
    batch : int
    """

    over: tuple[Window, Window]
    groups: int
    channels: int
    outputs: int
    batch: int

    @property
    def pixels(self) -> int:
        """The number of outputs of one channel."""
        return self.batch * self.over[0].out * self.over[1].out

    @property
    def taps(self) -> int:
        """The number of numbers that one output is the sum of products of."""
        return self.over[0].size * self.over[1].size * self.channels

    @property
    def is_small(self) -> bool:
        """Whether kernels of ours compute the convolution and its gradients."""
        windows = self.pixels * self.taps
        is_small = windows * self.groups * self.outputs <= LARGEST_CONVOLUTION
        return is_small or self.groups > 1 or windows > LARGEST_WINDOWS

    @property
    def forward(self) -> Array:
        """The struct of the convolution."""
        axes = [(w.length, w.out, w.size, w.stride, w.dilation, w.before, 1) for w in self.over]
        n_out = self.groups * self.outputs
        steps = self.groups, self.channels, self.outputs, n_out, 1, self.outputs
        return numpy.array((*axes, *steps), _CONVOLUTION)

    @property
    def backward(self) -> Array:
        """The struct of the convolution backwards: from outputs to inputs."""
        axes = [(w.out, w.length, w.size, 1, -w.dilation, -w.before, w.stride) for w in self.over]
        n_out = self.groups * self.outputs
        steps = self.groups, self.outputs, self.channels, 1, n_out, self.outputs
        return numpy.array((*axes, *steps), _CONVOLUTION)


def shapes_of(x: Array, weight: Array, *, groups: int, **options: Any) -> Shapes:
    """Return the whole numbers of the convolution of images with a weight; see `xpnet.nn.conv2d`."""
    over = windows.windows(windows.lengths_of(x.shape), weight.shape[:2], **options)
    return Shapes(over, groups, weight.shape[2], weight.shape[3] // groups, x.shape[0])


def shapes_of_call(call: Any) -> Shapes:
    """Return the whole numbers of a convolution that a step calls, or of its gradients."""
    options = {name: number for name, number in call.numbers.items() if name != "input_gradient"}
    return shapes_of(call.arrays["x"], call.arrays["weight"], **options)
