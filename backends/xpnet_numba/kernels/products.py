"""Matrix products of the size of a small network: dense ones, and those of images that are mostly zero.

Matrices are used by the address of an element, row after row. A row of results is made one vector at a time,
which is summed in registers, in the order of the inner index: no thread changes a bit.
"""

from collections.abc import Callable
from typing import Any

import numpy

from xpnet_numba.kernels.compiled import entry, named, part
from xpnet_numba.kernels.dense import row_of
from xpnet_numba.kernels.entries import operation
from xpnet_numba.kernels.memory import eight_bytes, get, put, view
from xpnet_numba.kernels.vectors import NARROW, WIDE, fma, lanes, load, prefetch, splat, store

Array = Any

_VALUE_BITS = numpy.uint32(8)
_VALUE = numpy.uint32(255)
_PIXEL = numpy.uint8(0)
_LINE = 16
"""Elements of uint32 in a cache line."""
_NEAR, _FAR = 8, 24
"""How many images ahead entries are prefetched, and before them where they begin: those of a batch are far
apart."""
_INNER = 128
"""Rows of the right factor that are used at a time: if the number of columns is a power of two, more than 256
would evict each other from the cache."""


def _in_vectors(make: Callable[[int], Any]) -> Any:
    """Return a part for all columns: first in wide vectors, then in narrow ones.

    `make` takes a size in bytes and returns a function for one vector: ``(out, columns, start, count, ...)``.
    """
    wide, narrow = (part(named(make(size), f"{size}")) for size in (WIDE, NARROW))

    def in_vectors(out: Array, columns: int, *args: Any) -> None:
        start, step = 0, lanes(out, WIDE)
        while start + step <= columns:
            wide(out, columns, start, step, *args)
            start += step
        step = lanes(out, NARROW)
        while start < columns:
            narrow(out, columns, start, min(step, columns - start), *args)
            start += step

    return part(named(in_vectors, make.__name__))


def _make_product(size: int) -> Any:
    def product(
        out: Array,
        columns: int,
        start: int,
        count: int,
        first: int,
        end: int,
        a: Array,
        row_step: int,
        inner_step: int,
        inner: int,
        b: Array,
        bias: Array,
    ) -> None:
        for begin in range(0, inner, _INNER):
            stop = min(begin + _INNER, inner)
            for i in range(first, end - 3, 4):
                at = i * columns + start
                if begin > 0:
                    y0, y1 = load(out, at, count, size), load(out, at + columns, count, size)
                    y2 = load(out, at + 2 * columns, count, size)
                    y3 = load(out, at + 3 * columns, count, size)
                elif bias.size:
                    y0 = y1 = y2 = y3 = load(bias, start, count, size)
                else:
                    y0 = y1 = y2 = y3 = splat(out.dtype.type(0), size)
                for k in range(begin, stop):
                    row = load(b, k * columns + start, count, size)
                    left = i * row_step + k * inner_step
                    y0 = fma(splat(get(a, left), size), row, y0)
                    y1 = fma(splat(get(a, left + row_step), size), row, y1)
                    y2 = fma(splat(get(a, left + 2 * row_step), size), row, y2)
                    y3 = fma(splat(get(a, left + 3 * row_step), size), row, y3)
                store(out, at, count, size, y0)
                store(out, at + columns, count, size, y1)
                store(out, at + 2 * columns, count, size, y2)
                store(out, at + 3 * columns, count, size, y3)
            for i in range(first + (end - first) // 4 * 4, end):
                at = i * columns + start
                if begin > 0:
                    y = load(out, at, count, size)
                elif bias.size:
                    y = load(bias, start, count, size)
                else:
                    y = splat(out.dtype.type(0), size)
                for k in range(begin, stop):
                    row = load(b, k * columns + start, count, size)
                    y = fma(splat(get(a, i * row_step + k * inner_step), size), row, y)
                store(out, at, count, size, y)

    return product


product = _in_vectors(_make_product)
"""Fill rows `first` to `end` of `out` with ``a b + bias``.

Element (i, k) of `a` is ``a[i * row_step + k * inner_step]``, so `a` may be transposed; a `bias` of size 0
is none.
"""


def _make_sum_rows(size: int) -> Any:
    def sum_rows(out: Array, columns: int, start: int, count: int, x: Array, rows: int) -> None:
        one, y = splat(out.dtype.type(1), size), splat(out.dtype.type(0), size)
        for i in range(rows):
            y = fma(one, load(x, i * columns + start, count, size), y)
        store(out, start, count, size, y)

    return sum_rows


sum_rows = _in_vectors(_make_sum_rows)
"""Fill `out` with the sum of the rows of `x`."""


@entry
def compress(images: int, n: int, pixels: int, blocks: int, starts: int, entries: int) -> None:
    """Write the pixels of each image that are not 0 as ``pixel << 8 | value``.

    Parameters
    ----------
    images : address of an array, shape (n, pixels), uint8
    blocks : int
        The number of ranges of pixels, see `block_of`.
    starts : address of an array, shape (n * blocks + 1,), int64
        Filled; the entries of block b of image i begin at its element ``i * blocks + b``.
    entries : address of an array, uint32
        One more than there are such pixels.
    """
    values, found, begins = view(images, 1, _PIXEL), view(entries, 1, _VALUE), view(starts, 1, 0)
    k = 0
    put(begins, 0, k)
    for i in range(n):
        row = i * pixels
        for b in range(blocks):
            pixel, end = block_of(pixels, b, blocks)
            while pixel + 8 <= end:
                if eight_bytes(values, row + pixel):  # Usually all eight are 0.
                    for p in range(pixel, pixel + 8):
                        k += _enter(found, k, p, get(values, row + p))
                pixel += 8
            for p in range(pixel, end):
                k += _enter(found, k, p, get(values, row + p))
            put(begins, i * blocks + b + 1, k)


@part
def _enter(entries: Array, k: int, pixel: int, value: int) -> int:
    """Write a pixel and return whether it counts: a branch would be mispredicted at each edge."""
    put(entries, k, numpy.uint32(pixel) << _VALUE_BITS | numpy.uint32(value))
    return value != 0


@part
def block_of(length: int, i: int, count: int) -> tuple[int, int]:
    """Return begin and end of range `i` of `count` nearly equal ones."""
    return length * i // count, length * (i + 1) // count


@part
def _fetch_start(starts: Array, indices: Array, i: int, b: int, blocks: int) -> None:
    """Prefetch where the entries of an image begin."""
    if i < indices.size:
        prefetch(starts, indices[i] * blocks + b)


@part
def _fetch(starts: Array, entries: Array, indices: Array, i: int, b: int, blocks: int, lines: int) -> None:
    """Prefetch entries of an image, as many for all: a branch that waits for their number takes longer."""
    if i < indices.size:
        begin = get(starts, indices[i] * blocks + b)
        for line in range(lines):
            prefetch(entries, begin + line * _LINE)


def _make_sparse_product(size: int) -> Any:
    def sparse_product(
        out: Array,
        columns: int,
        start: int,
        count: int,
        starts: Array,
        entries: Array,
        indices: Array,
        b: int,
        blocks: int,
        weight: Array,
        scale: Any,
        lists: Array,
        room: int,
        counts: Array,
    ) -> None:
        listing = room > 0 and start == 0
        # Once for the batch: to check each image's index makes an epoch 1.07x as long (2 cores, AMD EPYC).
        images, are_rows = (starts.size - 1) // blocks, True
        for i in range(indices.size):
            are_rows &= indices[i] >= 0 and indices[i] < images
        if listing:
            for pixel in range(*block_of(counts.size, b, blocks)):
                counts[pixel] = 0
        fetching = start == 0 and are_rows
        lines = get(starts, starts.size - 1) // starts.size // _LINE + 2  # those of most images
        if fetching:
            for i in range(_FAR):
                _fetch_start(starts, indices, i, b, blocks)
            for i in range(_NEAR):
                _fetch(starts, entries, indices, i, b, blocks, lines)
        for i in range(indices.size):
            if fetching:
                _fetch_start(starts, indices, i + _FAR, b, blocks)
                _fetch(starts, entries, indices, i + _NEAR, b, blocks, lines)
            at = (indices[i] if are_rows else row_of(indices[i], images)) * blocks + b
            y = splat(out.dtype.type(0), size)
            for k in range(get(starts, at), get(starts, at + 1)):
                entry = get(entries, k)
                p, value = numpy.int64(entry >> _VALUE_BITS), entry & _VALUE
                if listing:
                    end = get(counts, p)
                    put(lists, p * room + end, numpy.uint32(i) << _VALUE_BITS | value)
                    put(counts, p, end + 1)
                x = splat(out.dtype.type(numpy.int32(value)) * scale, size)
                y = fma(x, load(weight, p * columns + start, count, size), y)
            store(out, i * columns + start, count, size, y)

    return sparse_product


sparse_product = _in_vectors(_make_sparse_product)
"""Fill `out` with what block `b` of a batch of compressed images, scaled, adds to ``x weight``.

With `room`, the block's entries are also listed by pixel, which costs little during the wait for weights: the
`counts[p]` entries of pixel p are ``row << 8 | value``, from ``lists[p * room]``.
"""


@operation
def add_offset(weight: Array, bias: Array, folded: Array, offset: Any) -> None:
    """Fill `folded` with the bias that has the effect of an `offset`: ``bias + offset * sum(weight)``."""
    folded[:] = 0
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            folded[j] += weight[i, j]
    for j in range(weight.shape[1]):
        folded[j] = bias[j] + offset * folded[j]


@operation
def add_partials(partials: Array, bias: Array, y: Array, first: int, end: int) -> None:
    """Fill rows `first` to `end` of `y` with the sum of `bias` and `partials`, (blocks, batch, columns)."""
    blocks, _, columns = partials.shape
    for i in range(first, end):
        for j in range(columns):
            y[i, j] = bias[j] + partials[0, i, j]
        for b in range(1, blocks):
            for j in range(columns):
                y[i, j] += partials[b, i, j]


def _make_sparse_gradient(size: int) -> Any:
    def sparse_gradient(
        out: Array,
        columns: int,
        start: int,
        count: int,
        first: int,
        end: int,
        lists: Array,
        room: int,
        counts: Array,
        dy: Array,
        batch: int,
        scale: Any,
        offset: Any,
    ) -> None:
        initial = splat(out.dtype.type(0), size)
        if offset != 0:
            for i in range(batch):
                initial = fma(splat(offset, size), load(dy, i * columns + start, count, size), initial)
        for p in range(first, end):
            y = initial
            for k in range(p * room, p * room + counts[p]):
                entry = get(lists, k)
                row = numpy.int64(entry >> _VALUE_BITS) * columns
                value = out.dtype.type(numpy.int32(entry & _VALUE)) * scale
                y = fma(splat(value, size), load(dy, row + start, count, size), y)
            store(out, p * columns + start, count, size, y)

    return sparse_gradient


sparse_gradient = _in_vectors(_make_sparse_gradient)
"""Fill rows `first` to `end` of `out`, one for each pixel, with ``x^T dy``, `x` being listed by pixel."""
