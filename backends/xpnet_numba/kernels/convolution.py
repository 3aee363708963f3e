"""Convolution of images, which are stored row by row, and its gradients.

The lanes of a vector are output channels. Several pixels of a row, or several elements of the weight's
gradient, are summed in registers at a time, so that a vector that was loaded once serves them all. No index
is tested: images have their padding around them. Each sum has its own order, whatever the thread.
"""

from collections.abc import Callable
from typing import Any

from xpnet_numba.kernels.compiled import part
from xpnet_numba.kernels.entries import operation
from xpnet_numba.kernels.memory import get, put
from xpnet_numba.kernels.sums import (
    add_all,
    add_products,
    add_products_by_lane,
    places,
    repeat,
    store_all,
)
from xpnet_numba.kernels.vectors import NARROW, add, lanes, load, splat, store

Array = Any


@operation
def pad(
    x: Array,
    padded: Array,
    top: int,
    left: int,
    stride_height: int,
    stride_width: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `padded` with those of `x`, ``stride - 1`` zeros between pixels, and some around.

    Where `top` or `left` is negative, or room is missing behind, pixels are left out.
    """
    _, height, width, channels = x.shape
    _, out_height, out_width, _ = padded.shape
    for b in range(first, end):
        for row in range(out_height):
            out = (b * out_height + row) * out_width * channels
            for k in range(out, out + out_width * channels):
                put(padded, k, padded.dtype.type(0))
            i = (row - top) // stride_height
            if row < top or (row - top) % stride_height or i >= height:
                continue
            at = (b * height + i) * width * channels
            # Pixels side by side are copied as one.
            size, step = (width, 1) if stride_width == 1 else (1, stride_width)
            for j in range(0, width, size):
                begin, stop = max(left + j * step, 0), min(left + j * step + size, out_width)
                skipped = at + (j + begin - left - j * step) * channels
                for k in range((stop - begin) * channels):
                    put(padded, out + begin * channels + k, get(x, skipped + k))


def _convolution(count: int, *, by_channel: bool) -> Callable[..., None]:
    def convolve(
        place: int,
        y: Array,
        out: int,
        channel: int,
        used: int,
        x: Array,
        start: int,
        step: int,
        taps: tuple[int, int, int, int, int],
        weight: Array,
        bias: Array,
    ) -> None:
        rows, row_step, runs, run_step, inner = taps
        n_out = y.shape[3]
        sums = repeat(
            load(bias, channel, used, NARROW) if bias.size else splat(y.dtype.type(0), NARROW), count
        )
        at = channel
        for i in range(rows):
            for j in range(runs):
                k = start + place * step + i * row_step + j * run_step
                for _ in range(inner):
                    factor = load(weight, at, used, NARROW)
                    if by_channel:
                        sums = add_products_by_lane(sums, x, k, step, used, factor)
                    else:
                        sums = add_products(sums, x, k, step, factor)
                    k += 1
                    at += n_out
        store_all(y, out + place * n_out + channel, n_out, used, sums)

    return convolve


# Pixels of a row; of the depthwise convolution, each lane has its own input.
_convolve = places(lambda count: _convolution(count, by_channel=False))
_convolve_by_channel = places(lambda count: _convolution(count, by_channel=True))


@operation
def convolve(
    x: Array,
    weight: Array,
    bias: Array,
    y: Array,
    stride_height: int,
    stride_width: int,
    dilation_height: int,
    dilation_width: int,
    groups: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `y` with the convolution of those of `x`, which have their padding around them."""
    _, height, width, channels = x.shape
    _, out_height, out_width, n_out = y.shape
    per_group, outs, most = weight.shape[2], n_out // groups, lanes(y, NARROW)
    taps = taps_of(x, weight.shape[0], weight.shape[1], per_group, dilation_height, dilation_width, groups)
    step = stride_width * channels
    for b in range(first, end):
        for i in range(out_height):
            start = (b * height + i * stride_height) * width * channels
            out = (b * out_height + i) * out_width * n_out
            if per_group == 1 and outs == 1:
                for c in range(0, n_out, most):
                    used = min(most, n_out - c)
                    _convolve_by_channel(
                        0, out_width, y, out, c, used, x, start + c, step, taps, weight, bias
                    )
            else:
                for g in range(groups):
                    begin = start + g * per_group
                    for n in range(g * outs, (g + 1) * outs, most):
                        used = min(most, (g + 1) * outs - n)
                        _convolve(0, out_width, y, out, n, used, x, begin, step, taps, weight, bias)


@part
def taps_of(
    x: Array,
    kernel_height: int,
    kernel_width: int,
    per_group: int,
    dilation_height: int,
    dilation_width: int,
    groups: int,
) -> tuple[int, int, int, int, int]:
    """Return how many rows of a kernel there are and how far apart, runs in a row, and inputs of a run.

    The inputs of a run lie side by side: those of a whole row, unless there are gaps.
    """
    _, _, width, channels = x.shape
    row_step, run_step = dilation_height * width * channels, dilation_width * channels
    if groups == 1 and dilation_width == 1:
        return kernel_height, row_step, 1, run_step, kernel_width * channels
    return kernel_height, row_step, kernel_width, run_step, per_group


def _gradient(count: int, *, by_channel: bool) -> Callable[..., None]:
    def differentiate(
        place: int,
        d_weight: Array,
        out: int,
        channel: int,
        used: int,
        x: Array,
        start: int,
        unit: int,
        row_step: int,
        step: int,
        dy: Array,
        image: int,
    ) -> None:
        _, out_height, out_width, n_out = dy.shape
        sums = repeat(splat(dy.dtype.type(0), NARROW), count)
        at = image * out_height * out_width * n_out + channel
        for i in range(out_height):
            k = start + place * unit + i * row_step
            for _ in range(out_width):
                factor = load(dy, at, used, NARROW)
                if by_channel:
                    sums = add_products_by_lane(sums, x, k, unit, used, factor)
                else:
                    sums = add_products(sums, x, k, 1, factor)
                k += step
                at += n_out
        # By images, so that a sum of many terms does not lose small ones.
        add_all(d_weight, (out + place) * n_out + channel, n_out, used, sums)

    return differentiate


# Inputs of a run; of the depthwise convolution, elements of a row of the kernel.
_differentiate = places(lambda count: _gradient(count, by_channel=False))
_differentiate_by_channel = places(lambda count: _gradient(count, by_channel=True))


@operation
def differentiate_convolution(
    x: Array,
    dy: Array,
    d_weight: Array,
    kernel_width: int,
    stride_height: int,
    stride_width: int,
    dilation_height: int,
    dilation_width: int,
    groups: int,
    first: int,
    end: int,
) -> None:
    """Fill rows of `d_weight`, one for each input of the kernel, from images with padding around them."""
    batch, height, width, channels = x.shape
    n_out, per_group = dy.shape[3], channels // groups
    outs, most = n_out // groups, lanes(dy, NARROW)
    _, tap_step, runs, run_step, inner = taps_of(
        x, 0, kernel_width, per_group, dilation_height, dilation_width, groups
    )
    row_step, step = stride_height * width * channels, stride_width * channels
    by_channel = per_group == 1 and outs == 1
    if by_channel:
        runs, inner = 1, kernel_width
    for k in range(first * n_out, end * n_out):
        put(d_weight, k, d_weight.dtype.type(0))
    for b in range(batch):
        run = first // inner
        while run * inner < end:
            start = (b * height * width * channels) + run // runs * tap_step + run % runs * run_step
            out, begin, stop = run * inner, max(first - run * inner, 0), min(end - run * inner, inner)
            if by_channel:
                for c in range(0, n_out, most):
                    used = min(most, n_out - c)
                    _differentiate_by_channel(
                        begin, stop, d_weight, out, c, used, x, start + c, run_step, row_step, step, dy, b
                    )
            else:
                for g in range(groups):
                    at = start + g * per_group
                    for n in range(g * outs, (g + 1) * outs, most):
                        used = min(most, (g + 1) * outs - n)
                        _differentiate(begin, stop, d_weight, out, n, used, x, at, 1, row_step, step, dy, b)
            run += 1


@operation
def widen(weight: Array, bias: Array, widened: Array, wide_bias: Array, stride_width: int) -> None:
    """Fill `widened` with the weight that makes several pixels of a row as channels of one."""
    rows, columns, channels, n_out = weight.shape
    widened[:] = 0
    for pixel in range(widened.shape[3] // n_out):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    for n in range(n_out):
                        widened[i, j + pixel * stride_width, c, pixel * n_out + n] = weight[i, j, c, n]
        for n in range(bias.size):
            wide_bias[pixel * n_out + n] = bias[n]


@operation
def narrow(d_widened: Array, d_weight: Array, stride_width: int) -> None:
    """Fill `d_weight` with the gradient, given that at what `widen` made."""
    rows, columns, channels, n_out = d_weight.shape
    d_weight[:] = 0
    for pixel in range(d_widened.shape[3] // n_out):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    for n in range(n_out):
                        d_weight[i, j, c, n] += d_widened[i, j + pixel * stride_width, c, pixel * n_out + n]


@operation
def add_pixels(dy: Array, partials: Array, first: int, end: int) -> None:
    """Fill rows of `partials` with the sums over the pixels of each image."""
    _, pixels, n_out = dy.shape
    for b in range(first, end):
        for n in range(0, n_out, lanes(dy, NARROW)):
            used = min(lanes(dy, NARROW), n_out - n)
            at, last = b * pixels * n_out + n, (b + 1) * pixels * n_out
            even = odd = splat(dy.dtype.type(0), NARROW)
            while at + n_out < last:
                even = add(even, load(dy, at, used, NARROW))
                odd = add(odd, load(dy, at + n_out, used, NARROW))
                at += 2 * n_out
            if at < last:
                even = add(even, load(dy, at, used, NARROW))
            store(partials, b * n_out + n, used, NARROW, add(even, odd))
