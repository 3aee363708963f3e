"""Pooling of images, which are stored row by row, and its gradients; the lanes of a vector are channels."""

from typing import Any

from xpnet_numba.kernels.compiled import part
from xpnet_numba.kernels.entries import operation
from xpnet_numba.kernels.memory import put
from xpnet_numba.kernels.vectors import (
    NARROW,
    add,
    fma,
    lanes,
    load,
    maximum,
    splat,
    store,
    where_equal,
)

Array = Any


@part
def _inside(i: int, size: int, stride: int, before: int, length: int) -> tuple[int, int]:
    """Return begin and end of window `i` along an axis, without the padding."""
    begin = i * stride - before
    return max(begin, 0), min(begin + size, length)


@operation
def pool_maximum(
    x: Array,
    y: Array,
    size_height: int,
    size_width: int,
    top: int,
    left: int,
    stride_height: int,
    stride_width: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `y` with the largest element of each window."""
    _, height, width, channels = x.shape
    _, out_height, out_width, _ = y.shape
    for b in range(first, end):
        for i in range(out_height):
            r0, r1 = _inside(i, size_height, stride_height, top, height)
            for j in range(out_width):
                c0, c1 = _inside(j, size_width, stride_width, left, width)
                out = ((b * out_height + i) * out_width + j) * channels
                for c in range(0, channels, lanes(x, NARROW)):
                    used = min(lanes(x, NARROW), channels - c)
                    largest = load(x, ((b * height + r0) * width + c0) * channels + c, used, NARROW)
                    for row in range(r0, r1):
                        at = ((b * height + row) * width + c0) * channels + c
                        for _ in range(c0, c1):
                            largest = maximum(largest, load(x, at, used, NARROW))
                            at += channels
                    store(y, out + c, used, NARROW, largest)


@operation
def pool_maximum_backward(
    x: Array,
    y: Array,
    dy: Array,
    dx: Array,
    size_height: int,
    size_width: int,
    top: int,
    left: int,
    stride_height: int,
    stride_width: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `dx` with `dy` at the first largest element of each window."""
    _, height, width, channels = x.shape
    _, out_height, out_width, _ = y.shape
    nothing = splat(x.dtype.type(0), NARROW)
    overlap = stride_height < size_height or stride_width < size_width
    for b in range(first, end):
        _clear(dx, b)
        for i in range(out_height):
            r0, r1 = _inside(i, size_height, stride_height, top, height)
            for j in range(out_width):
                c0, c1 = _inside(j, size_width, stride_width, left, width)
                out = ((b * out_height + i) * out_width + j) * channels
                for c in range(0, channels, lanes(x, NARROW)):
                    used = min(lanes(x, NARROW), channels - c)
                    largest, left_over = load(y, out + c, used, NARROW), load(dy, out + c, used, NARROW)
                    for row in range(r0, r1):
                        at = ((b * height + row) * width + c0) * channels + c
                        for _ in range(c0, c1):
                            element = load(x, at, used, NARROW)
                            here = where_equal(element, largest, left_over, nothing)
                            left_over = where_equal(element, largest, nothing, left_over)
                            if overlap:
                                here = add(here, load(dx, at, used, NARROW))
                            store(dx, at, used, NARROW, here)
                            at += channels


@operation
def pool_mean(
    x: Array,
    y: Array,
    size_height: int,
    size_width: int,
    top: int,
    left: int,
    stride_height: int,
    stride_width: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `y` with the mean of each window, without its padding."""
    _, height, width, channels = x.shape
    _, out_height, out_width, _ = y.shape
    for b in range(first, end):
        for i in range(out_height):
            r0, r1 = _inside(i, size_height, stride_height, top, height)
            for j in range(out_width):
                c0, c1 = _inside(j, size_width, stride_width, left, width)
                out = ((b * out_height + i) * out_width + j) * channels
                share = splat(x.dtype.type(1) / x.dtype.type((r1 - r0) * (c1 - c0)), NARROW)
                for c in range(0, channels, lanes(x, NARROW)):
                    used = min(lanes(x, NARROW), channels - c)
                    total = splat(x.dtype.type(0), NARROW)
                    for row in range(r0, r1):
                        at = ((b * height + row) * width + c0) * channels + c
                        for _ in range(c0, c1):
                            total = add(total, load(x, at, used, NARROW))
                            at += channels
                    store(y, out + c, used, NARROW, fma(total, share, splat(x.dtype.type(0), NARROW)))


@operation
def pool_mean_backward(
    dy: Array,
    dx: Array,
    size_height: int,
    size_width: int,
    top: int,
    left: int,
    stride_height: int,
    stride_width: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `dx` with what is theirs of each window's gradient."""
    _, height, width, channels = dx.shape
    _, out_height, out_width, _ = dy.shape
    for b in range(first, end):
        _clear(dx, b)
        for i in range(out_height):
            r0, r1 = _inside(i, size_height, stride_height, top, height)
            for j in range(out_width):
                c0, c1 = _inside(j, size_width, stride_width, left, width)
                out = ((b * out_height + i) * out_width + j) * channels
                share = splat(dy.dtype.type(1) / dy.dtype.type((r1 - r0) * (c1 - c0)), NARROW)
                for c in range(0, channels, lanes(dx, NARROW)):
                    used = min(lanes(dx, NARROW), channels - c)
                    gradient = load(dy, out + c, used, NARROW)
                    for row in range(r0, r1):
                        at = ((b * height + row) * width + c0) * channels + c
                        for _ in range(c0, c1):
                            store(dx, at, used, NARROW, fma(gradient, share, load(dx, at, used, NARROW)))
                            at += channels


@part
def _clear(x: Array, image: int) -> None:
    """Fill an image with zeros."""
    size = x.shape[1] * x.shape[2] * x.shape[3]
    for k in range(image * size, (image + 1) * size):
        put(x, k, x.dtype.type(0))
