"""`exp` and `log1p` for kernels, without calls and branches, so that LLVM can vectorise loops."""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy
from numba.extending import overload

from xpnet_numba.kernels.compiled import FLAGS, named, part

Scalar = Any
Compilable = Callable[[Scalar], Scalar]


def exp(x: Scalar) -> Scalar:
    """Return e to the power `x`, within 1 ulp if that is a normal number.

    Above that range it is infinite, below it 0: denormal numbers would slow down everything that follows.
    """
    raise NotImplementedError("`exp` is for compiled code; elsewhere use `numpy.exp`")


def log1p(x: Scalar) -> Scalar:
    """Return the natural logarithm of ``1 + x`` for `x` in [0, 1], within 2 ulp."""
    raise NotImplementedError("`log1p` is for compiled code; elsewhere use `numpy.log1p`")


@overload(exp, jit_options=FLAGS)
def _choose_exp(x: Scalar) -> Compilable | None:
    # The first part of log(2) has so few digits that its product with any exponent is exact.
    if x == numba.float32:
        ln2 = 0.693145751953125, 1.428606820309417e-06
        return _exp(numpy.float32, numpy.int32, *ln2, degree=7)
    if x == numba.float64:
        ln2 = 0.6931471805598903, 5.497923018708371e-14
        return _exp(numpy.float64, numpy.int64, *ln2, degree=13)
    return None


@overload(log1p, jit_options=FLAGS)
def _choose_log1p(x: Scalar) -> Compilable | None:
    if x == numba.float32:
        return _log1p(numpy.float32, degree=5)
    if x == numba.float64:
        return _log1p(numpy.float64, degree=14)
    return None


def _exp(real: Any, integer: Any, ln2_head: float, ln2_tail: float, *, degree: int) -> Compilable:
    """Return `exp` for one dtype.

    Cody and Waite, "Software Manual for the Elementary Functions" (1980), chapter 6:
    exp(x) = 2**k exp(r) with an integer k and abs(r) <= log(2) / 2. For exp(r) Taylor's polynomial
    needs at most two terms more than the best one.
    """
    info = numpy.finfo(real)
    digits = integer(info.nmant)
    # Added to a number, it rounds that to an integer and leaves the integer in the lowest bits.
    magic = real(1.5 * 2.0**info.nmant)
    octaves, head, tail = real(1 / math.log(2)), real(ln2_head), real(ln2_tail)
    smallest, largest = (
        numpy.nextafter(real(math.log(bound)), real(0)) for bound in (info.smallest_normal, info.max)
    )
    zero, infinity = real(0), real(math.inf)
    series = _polynomial("exp", real, [1 / math.factorial(n) for n in range(degree + 1)])

    def function(x: Scalar) -> Scalar:
        shifted = x * octaves + magic
        k = shifted - magic
        r = (x - k * head) - k * tail
        # Added to the bits of the exponent, k multiplies by 2**k; out of range the result is not used.
        bits = real(series(r)).view(integer) + (real(shifted).view(integer) << digits)
        y = zero if x < smallest else integer(bits).view(real)
        return y if x <= largest else x + infinity  # nan stays nan

    return function


def _log1p(real: Any, *, degree: int) -> Compilable:
    """Return `log1p` for one dtype.

    With s = x / (2 + x), at most 1/3, log(1 + x) = 2 atanh(s) = 2 s + 2/3 s**3 + 2/5 s**5 + ...
    As 2 s = x - s x, this is x less a correction, and only the correction is rounded several times:
    the form of e_log.c in FDLIBM (Sun Microsystems, 1993).
    """
    two = real(2)
    series = _polynomial("log1p", real, [2 / (2 * n + 3) for n in range(degree + 1)])

    def function(x: Scalar) -> Scalar:
        s = x / (two + x)
        square = s * s
        return x - s * (x - square * series(square))

    return function


def _polynomial(name: str, real: Any, coefficients: list[float]) -> Compilable:
    """Return a compiled polynomial, given its coefficients from the constant upwards."""
    # LLVM unrolls at most 15 rounds, and does not vectorise a kernel around a loop (25x, float64).
    first, *others = (real(c) for c in reversed(coefficients))
    constants = tuple(others)

    def polynomial(x: Scalar) -> Scalar:
        y = first
        for c in constants:
            y = y * x + c
        return y

    return part(named(polynomial, name))
