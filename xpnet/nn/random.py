"""Random numbers inside a step, and dropout, which draws its masks by them."""

import math
from numbers import Integral
from typing import Annotated, Any

from xpnet.nn.declaration import function

Array = Any
First = Annotated[int, 0, 3, 400, 2**33 + 5]

# Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (2011): Philox 4x32-10.
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF


def philox(xp: Any, counter: tuple[Array, Array, Array, Array], key: int) -> tuple[Array, ...]:
    """Return random bits: those of the generator Philox 4x32-10 at each counter.

    Parameters
    ----------
    counter : tuple of array, uint32
        The four words, the lowest first; their shapes must fit each other.
    key : int
        In [0, 2**64).

    Returns
    -------
    bits : tuple of four arrays, uint32
    """
    a, b, c, d = counter
    for low, high in round_keys(key):
        (high_a, low_a), (high_c, low_c) = _product(a, MULTIPLIERS[0]), _product(c, MULTIPLIERS[1])
        a, b = high_c ^ b ^ xp.asarray(low, dtype=xp.uint32), low_c
        c, d = high_a ^ d ^ xp.asarray(high, dtype=xp.uint32), low_a
    return a, b, c, d


def round_keys(key: int) -> list[tuple[int, int]]:
    """Return the two words of a key that each round of Philox uses."""
    low, high = int(key) & WORD, int(key) >> 32
    return [((low + i * WEYL[0]) & WORD, (high + i * WEYL[1]) & WORD) for i in range(ROUNDS)]


def _product(x: Array, factor: int) -> tuple[Array, Array]:
    """Return the high and the low word of a product."""
    # Of halves, because some devices have no 64-bit integers. No product or sum here exceeds 32 bits.
    x_low, x_high = x & 0xFFFF, x >> 16
    low, high = factor & 0xFFFF, factor >> 16
    lowest, crossed = x_low * low, x_high * low
    middle = (lowest >> 16) + (crossed & 0xFFFF) + x_low * high
    return x_high * high + (crossed >> 16) + (middle >> 16), ((middle & 0xFFFF) << 16) | (lowest & 0xFFFF)


def step_word(xp: Any, step: int) -> Array:
    """Return the number of a step as a word of a counter, shape (), uint32."""
    number: Any = step  # an array in a step that another library traces
    return xp.asarray(number % 2**32 if isinstance(number, Integral) else number, dtype=xp.uint32)


def drop_below(rate: float) -> int:
    """Return the number below which 32 random bits drop an element."""
    return min(round(rate * 2**32), WORD)


@function("x: *, key: key, step: count -> y: *", gradient="dropout_backward")
def dropout(xp: Any, x: Array, key: int, step: int, rate: float, *, first: First = 0) -> Array:
    """Return `x` with elements set to 0 with probability `rate`, and the others divided by ``1 - rate``.

    Which elements are dropped depends on their number, `key`, `step` and `rate` only: four consecutive ones
    are dropped by the four words of `philox` at the counter ``(number // 4, 0, step, 0)``. So parts of an
    array are dropped as the whole is, if each is given the number of its first element.

    Parameters
    ----------
    x : array, any shape, float
    key : int
        In [0, 2**64).
    step : int
        The masks repeat after 2**32 steps.
    rate : float
        In [0, 1).
    first : int
        The number of the first element, 0 or above; all numbers are below 2**34.

    Returns
    -------
    y : array, shape of `x`
    """
    block, before = divmod(first, 4)
    end = before + math.prod(x.shape)
    nothing = xp.asarray(0, dtype=xp.uint32)
    numbers = xp.arange(block, block - (-end // 4), dtype=xp.uint32)
    words = philox(xp, (numbers, nothing, step_word(xp, step), nothing), key)
    bits = xp.reshape(xp.reshape(xp.stack(words, axis=1), (-1,))[before:end], x.shape)
    keep = bits >= xp.asarray(drop_below(rate), dtype=xp.uint32)
    return xp.where(keep, x * (1 / (1 - rate)), xp.zeros_like(x))


@function("dy: *, key: key, step: count -> dx: *")
def dropout_backward(xp: Any, dy: Array, key: int, step: int, rate: float, *, first: First = 0) -> Array:
    """Return the gradient at the input of `dropout`: `dy` through the same mask.

    Parameters
    ----------
    dy : array, any shape, float
    key, step : int
    rate : float
    first : int

    Returns
    -------
    dx : array, shape of `dy`
    """
    return dropout(xp, dy, key, step, rate, first=first)
