"""Initial weights, drawn on the host so that one seed gives one model on every backend.

Each function takes a `Stream`; how many numbers each output is computed from, `n_in`, and how many outputs
each input is used for, `n_out`; and the shape of the weight, ``(n_in, n_out)`` if omitted. It returns
a float64 NumPy array.
"""

from collections.abc import Callable

import numpy as np

from xpnet.checks import count
from xpnet.random import Stream

Shape = tuple[int, ...] | None
Initializer = Callable[..., np.ndarray]


def normal(stream: Stream, n_in: int, n_out: int, shape: Shape = None) -> np.ndarray:
    """Return standard normal weights, of variance 1 whatever the width."""
    return stream.normal(shape or _counts(n_in, n_out))


def lecun_normal(stream: Stream, n_in: int, n_out: int, shape: Shape = None) -> np.ndarray:
    """Return normal weights of variance ``1 / n_in`` (LeCun et al., "Efficient BackProp", 1998)."""
    n_in, n_out = _counts(n_in, n_out)
    return stream.normal(shape or (n_in, n_out)) * np.sqrt(1.0 / n_in)


def he_normal(stream: Stream, n_in: int, n_out: int, shape: Shape = None) -> np.ndarray:
    """Return normal weights of variance ``2 / n_in`` (He et al., 2015), derived for ReLU."""
    n_in, n_out = _counts(n_in, n_out)
    return stream.normal(shape or (n_in, n_out)) * np.sqrt(2.0 / n_in)


def he_uniform(stream: Stream, n_in: int, n_out: int, shape: Shape = None) -> np.ndarray:
    """Return uniform weights of variance ``2 / n_in`` (He et al., 2015)."""
    n_in, n_out = _counts(n_in, n_out)
    return _symmetric(stream, shape or (n_in, n_out)) * np.sqrt(6.0 / n_in)


def glorot_normal(stream: Stream, n_in: int, n_out: int, shape: Shape = None) -> np.ndarray:
    """Return normal weights of variance ``2 / (n_in + n_out)`` (Glorot and Bengio, 2010)."""
    n_in, n_out = _counts(n_in, n_out)
    return stream.normal(shape or (n_in, n_out)) * np.sqrt(2.0 / (n_in + n_out))


def glorot_uniform(stream: Stream, n_in: int, n_out: int, shape: Shape = None) -> np.ndarray:
    """Return uniform weights of variance ``2 / (n_in + n_out)`` (Glorot and Bengio, 2010)."""
    n_in, n_out = _counts(n_in, n_out)
    return _symmetric(stream, shape or (n_in, n_out)) * np.sqrt(6.0 / (n_in + n_out))


def _counts(n_in: int, n_out: int) -> tuple[int, int]:
    return count("n_in", n_in), count("n_out", n_out)


def _symmetric(stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
    return 2.0 * stream.uniform(shape) - 1.0


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f for f in (normal, lecun_normal, he_normal, he_uniform, glorot_normal, glorot_uniform)
}
