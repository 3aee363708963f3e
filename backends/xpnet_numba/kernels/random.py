"""Dropout, whose masks are bits of the generator Philox 4x32-10."""

from typing import Any

import numpy

from xpnet.nn.random import MULTIPLIERS, ROUNDS, WEYL
from xpnet_numba.kernels.compiled import inlined, part
from xpnet_numba.kernels.entries import enter
from xpnet_numba.kernels.formulas import by_place
from xpnet_numba.operations import signature

Array = Any
Scalar = Any

# All words are uint64, because a product of two has 64 bits.
_WORD, _HALF = numpy.uint64(0xFFFFFFFF), numpy.uint64(32)
_FACTORS = numpy.uint64(MULTIPLIERS[0]), numpy.uint64(MULTIPLIERS[1])
_WEYL = numpy.uint64(WEYL[0]), numpy.uint64(WEYL[1])


@inlined
def philox(a: Scalar, c: Scalar, low: Scalar, high: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Return the bits at the counter ``(a, 0, c, 0)``; see `xpnet.nn.philox`."""
    b = d = numpy.uint64(0)
    for _ in range(ROUNDS):
        p, q = a * _FACTORS[0], c * _FACTORS[1]
        a, b = (q >> _HALF) ^ b ^ low, q & _WORD
        c, d = (p >> _HALF) ^ d ^ high, p & _WORD
        low, high = (low + _WEYL[0]) & _WORD, (high + _WEYL[1]) & _WORD
    return a, b, c, d


@inlined
def from_halves(low: Scalar, high: Scalar) -> Scalar:
    """Return a word, given its halves as any numbers."""
    return numpy.uint64(low) | numpy.uint64(high) << numpy.uint64(16)


@inlined
def _first(block0: Scalar, block1: Scalar, before: Scalar) -> Scalar:
    """Return the number of the first element of an array."""
    return 4 * numpy.int64(from_halves(block0, block1)) + numpy.int64(before)


@inlined
def _factor(bits: Scalar, below: Scalar, factor: Scalar) -> Scalar:
    return factor if bits >= below else type(factor)(0)


@inlined
def _fill_mask(
    mask: Array, low: Scalar, high: Scalar, step: Scalar, below: Scalar, factor: Scalar, place: int
) -> None:
    """Fill `mask` with `factor` and 0.

    Four elements whose places begin with a multiple of 4 have the words of one counter.
    """
    begin = min(-place % 4, mask.size)
    whole = mask[begin : begin + (mask.size - begin) // 4 * 4]
    first = numpy.uint64((place + begin) // 4)
    # Indices that begin with 0, because LLVM does not vectorise a loop in which they may be negative.
    for block in range(whole.size // 4):
        a, b, c, d = philox(first + numpy.uint64(block), step, low, high)
        whole[4 * block] = _factor(a, below, factor)
        whole[4 * block + 1] = _factor(b, below, factor)
        whole[4 * block + 2] = _factor(c, below, factor)
        whole[4 * block + 3] = _factor(d, below, factor)
    for j in range(mask.size - whole.size):
        i = j if j < begin else j + whole.size
        a, b, c, d = philox(numpy.uint64((place + i) // 4), step, low, high)
        word = (place + i) % 4
        bits = a if word == 0 else b if word == 1 else c if word == 2 else d
        mask[i] = _factor(bits, below, factor)


@inlined
def _keep(x: Array, mask: Array, y: Array) -> None:
    """Fill `y` with the elements of `x` that are kept, times the factor, and with 0."""
    for i in range(x.size):
        y[i] = x[i] * mask[i] if mask[i] > 0 else type(x[i])(0)


@by_place
def dropout(
    x: Array,
    y: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    below0: Scalar,
    below1: Scalar,
    block0: Scalar,
    block1: Scalar,
    before: Scalar,
    factor: Scalar,
    place: int,
) -> None:
    """Fill `y` with the elements of `x` that are kept, times `factor`, and with 0."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    place += _first(block0, block1, before)
    _fill_mask(y, low, high, step, from_halves(below0, below1), factor, place)
    _keep(x, y, y)


@by_place
def dropout_backward(
    dy: Array,
    dx: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    below0: Scalar,
    below1: Scalar,
    block0: Scalar,
    block1: Scalar,
    before: Scalar,
    factor: Scalar,
    place: int,
) -> None:
    """Fill `dx` with the elements of `dy` that are kept, times `factor`, and with 0."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    place += _first(block0, block1, before)
    _fill_mask(dx, low, high, step, from_halves(below0, below1), factor, place)
    _keep(dy, dx, dx)


def _dropout_keeping(
    x: Array,
    y: Array,
    mask: Array,
    key0: Scalar,
    key1: Scalar,
    key2: Scalar,
    key3: Scalar,
    step0: Scalar,
    step1: Scalar,
    below0: Scalar,
    below1: Scalar,
    block0: Scalar,
    block1: Scalar,
    before: Scalar,
    factor: Scalar,
    first: int,
    end: int,
) -> None:
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    place = first * (x.size // (end - first)) + _first(block0, block1, before)
    _fill_mask(mask, low, high, step, from_halves(below0, below1), factor, place)
    _keep(x, mask, y)


def _keep_again(dy: Array, mask: Array, dx: Array) -> None:
    _keep(dy, mask, dx)


enter(
    "dropout_keeping",
    part(_dropout_keeping),
    (*signature("dropout_keeping").operands, *signature("dropout_keeping").numbers, "first", "end"),
)
enter("keep", part(_keep_again))
