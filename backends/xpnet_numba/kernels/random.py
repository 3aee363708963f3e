"""Dropout, whose masks are bits of the generator Philox 4x32-10."""

from typing import Any

import numpy

from xpnet.nn.random import MULTIPLIERS, ROUNDS, WEYL
from xpnet_numba.kernels.compiled import inlined
from xpnet_numba.kernels.formulas import by_place

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
def _kept(x: Scalar, bits: Scalar, below: Scalar, factor: Scalar) -> Scalar:
    return x * factor if bits >= below else type(x)(0)


@inlined
def _drop(
    x: Array, y: Array, low: Scalar, high: Scalar, step: Scalar, below: Scalar, factor: Scalar, place: int
) -> None:
    """Fill `y`; four elements whose places begin with a multiple of 4 have the words of one counter."""
    begin = min(-place % 4, x.size)
    end = begin + (x.size - begin) // 4 * 4
    first = (place + begin) // 4
    for block in range((end - begin) // 4):
        a, b, c, d = philox(numpy.uint64(first + block), step, low, high)
        i = begin + 4 * block
        y[i] = _kept(x[i], a, below, factor)
        y[i + 1] = _kept(x[i + 1], b, below, factor)
        y[i + 2] = _kept(x[i + 2], c, below, factor)
        y[i + 3] = _kept(x[i + 3], d, below, factor)
    for j in range(begin + x.size - end):
        i = j if j < begin else j - begin + end
        a, b, c, d = philox(numpy.uint64((place + i) // 4), step, low, high)
        word = (place + i) % 4
        bits = a if word == 0 else b if word == 1 else c if word == 2 else d
        y[i] = _kept(x[i], bits, below, factor)


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
    factor: Scalar,
    place: int,
) -> None:
    """Fill `y` with the elements of `x` that are kept, times `factor`, and with 0."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    _drop(x, y, low, high, step, from_halves(below0, below1), factor, place)


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
    factor: Scalar,
    place: int,
) -> None:
    """Fill `dx` with the elements of `dy` that are kept, times `factor`, and with 0."""
    low, high, step = from_halves(key0, key1), from_halves(key2, key3), from_halves(step0, step1)
    _drop(dy, dx, low, high, step, from_halves(below0, below1), factor, place)
