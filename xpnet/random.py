"""Random numbers that depend only on the seed, bit for bit, on every backend, machine and NumPy version.

Only the raw integers come from NumPy (the counter-based generator Philox). They are turned into numbers with
additions, multiplications, divisions and square roots, which IEEE 754 rounds the same way everywhere. NumPy's
own distributions may change between versions, and `exp` and `log` differ between processors. Dropout masks
are drawn on the device, by `nn.dropout`; a stream provides their keys.
"""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import numpy as np

from xpnet import checks

_PURPOSES = {"init": 1, "shuffle": 2, "dropout": 3}


class Stream:
    """Random numbers for one purpose. A copy continues from the same point, independently of the original.

    Parameters
    ----------
    seed : int
        In ``[0, 2**64)``.
    purpose : {"init", "shuffle", "dropout"}
        Streams with one seed and different purposes are independent.

    Raises
    ------
    ValueError
        If the seed is out of range or the purpose unknown.

    Attributes
    ----------
    first_row : int
        The number of the first row that layers draw for; see `from_row`.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        seed = checks.seed(seed)
        if purpose not in _PURPOSES:
            raise ValueError(f"unknown `purpose` {purpose!r}: choose one of {', '.join(_PURPOSES)}")
        self._key = seed | _PURPOSES[purpose] << 64
        self._bits = np.random.Philox(key=self._key)
        self._drawn = [0]  # in a list, because the streams of steps share it
        self._step: int | None = None
        self._keys = 0
        self.first_row = 0

    def __copy__(self) -> Stream:
        return copy.deepcopy(self)

    @property
    def draws(self) -> int:
        """How often this drew; of what is drawn at a step, only what is drawn on the host counts."""
        return self._drawn[0]

    def state(self) -> dict[str, Any]:
        """Return where the stream is, as JSON; `restore` continues there."""
        found: Any = self._bits.state
        words = {name: [int(word) for word in found["state"][name]] for name in ("counter", "key")}
        buffer = [int(word) for word in found["buffer"]]
        return {"draws": self.draws, **words, "buffer": buffer, "buffer_pos": int(found["buffer_pos"])}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where a stream with the same seed and purpose was when its `state` was asked for."""
        found: Any = self._bits.state
        words = {name: np.asarray(state[name], dtype=np.uint64) for name in ("counter", "key", "buffer")}
        if not np.array_equal(words["key"], found["state"]["key"]):
            raise ValueError("the state is of a stream with another seed or purpose; make that stream first")
        found["state"]["counter"] = words["counter"]
        found |= {"buffer": words["buffer"], "buffer_pos": checks.limit(state["buffer_pos"])}
        self._bits.state = found
        self._drawn[0] = state["draws"]

    def at(self, step: int) -> Stream:
        """Return the stream of a training step, whose masks depend only on seed, purpose and this number.

        A step that is given its number, and makes this of it, is replayed with new masks at each call.

        Parameters
        ----------
        step : int
            Above 0.
        """
        stream = object.__new__(Stream)
        vars(stream).update(vars(self), _step=step, _keys=0)
        return stream

    def from_row(self, first: int) -> Stream:
        """Return the stream of some rows of a batch, for which layers draw what they draw in the whole batch.

        Only what is drawn on the device is drawn by rows, by the keys that `next_key` returns. Numbers that
        are drawn on the host are those that the first rows of the batch would have.

        Parameters
        ----------
        first : int
            The number of the first of these rows within the batch, from 0.
        """
        stream = object.__new__(Stream)
        vars(stream).update(vars(self), first_row=checks.not_negative("first", first))
        return stream

    def next_key(self) -> tuple[int, int]:
        """Return the key and the step for a function of `nn` that draws, such as `nn.dropout`.

        No two calls return the same pair. At a step, each call returns another key. If the rows of a batch
        are divided among processes, pass `first_row` too, times the elements of a row for `nn.dropout`.
        """
        if self._step is None:
            self._drawn[0] += 1
            return _derived_key(self._key, 0), self.draws
        self._keys += 1
        return _derived_key(self._key, self._keys), self._step

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Return multiples of 2**-53, uniform in (0, 1), as a float64 NumPy array."""
        # Only odd multiples: 0 and 1 are excluded, where the normal quantile is infinite.
        return ((self._raw(shape) >> np.uint64(12)) * 2.0 + 1.0) * 2.0**-53

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Return standard normal numbers as a float64 NumPy array."""
        return _normal_quantile(self.uniform(shape))

    def permutation(self, n: int) -> np.ndarray:
        """Return the integers 0 to ``n - 1`` in random order as an int32 NumPy array."""
        return np.argsort(self._raw((n,)), kind="stable").astype(np.int32)

    def _raw(self, shape: int | tuple[int, ...]) -> np.ndarray:
        self._drawn[0] += 1
        sizes = checks.shape(shape)
        return self._bits.random_raw(math.prod(sizes)).reshape(sizes)


@functools.lru_cache(64)
def _derived_key(key: int, number: int) -> int:
    """Return one of the keys in [0, 2**64) that belong to the key of a stream."""
    # Numbers for the host have counters below 2**192.
    return int(np.random.Philox(key=key, counter=(number + 1) << 192).random_raw())


def as_stream(seed: int | Stream) -> Stream:
    """Return `seed` if it is a stream, else the stream of initial weights that it seeds."""
    return seed if isinstance(seed, Stream) else Stream(seed, "init")


# Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution" (1988), PPND16: coefficients
# of numerator and denominator, from the constant term up, for the centre, the flanks and the far tails.
_MIDDLE = (
    (
        3.3871328727963666080e0,
        1.3314166789178437745e2,
        1.9715909503065514427e3,
        1.3731693765509461125e4,
        4.5921953931549871457e4,
        6.7265770927008700853e4,
        3.3430575583588128105e4,
        2.5090809287301226727e3,
    ),
    (
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    ),
)
_FLANK = (
    (
        1.42343711074968357734e0,
        4.63033784615654529590e0,
        5.76949722146069140550e0,
        3.64784832476320460504e0,
        1.27045825245236838258e0,
        2.41780725177450611770e-1,
        2.27238449892691845833e-2,
        7.74545014278341407640e-4,
    ),
    (
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)
_TAIL = (
    (
        6.65790464350110377720e0,
        5.46378491116411436990e0,
        1.78482653991729133580e0,
        2.96560571828504891230e-1,
        2.65321895265761230930e-2,
        1.24266094738807843860e-3,
        2.71155556874348757815e-5,
        2.01033439929228813265e-7,
    ),
    (
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)


def _normal_quantile(p: np.ndarray) -> np.ndarray:
    """Return the quantile of the standard normal distribution at probability `p`, in (0, 1)."""
    q = p - 0.5
    r = np.sqrt(-_log(np.minimum(p, 1.0 - p)))
    outside = np.where(r <= 5.0, _ratio(_FLANK, r - 1.6), _ratio(_TAIL, r - 5.0))
    return np.where(np.abs(q) <= 0.425, q * _ratio(_MIDDLE, 0.180625 - q * q), np.copysign(outside, q))


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: np.ndarray) -> np.ndarray:
    numerator, denominator = (_polynomial(c, x) for c in coefficients)
    return numerator / denominator


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    total = np.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _log(x: np.ndarray) -> np.ndarray:
    """Return the natural logarithm of normal float64 numbers, to within a few units in the last place."""
    mantissa, exponent = np.frexp(x)  # mantissa in [0.5, 1)
    low = mantissa < 2**-0.5
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    exponent = exponent - low
    # log(m) = 2 artanh(s) with s = (m - 1) / (m + 1), |s| < 0.172: the term in s**23 is below 2**-53.
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = _polynomial(tuple(2.0 / (2 * k + 1) for k in range(11)), s * s)
    return exponent * 0.6931471805599453 + s * series
