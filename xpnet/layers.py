"""Layers: plain data that say what is computed; their parameters are kept outside.

A layer has `shapes`, the names and shapes of its parameters; ``init(xp, seed, dtype=...)`` returns them as a
dict of arrays. It is called as ``y, pullback = layer(xp, params, x, stream=...)``, where `x` and `y` have the
shape ``(batch, features)``. `pullback` takes `dy`, the gradient of a scalar loss at `y`, and returns `dx`,
the gradient at `x`, and a dict of the parameters' gradients; with ``input_gradient=False`` it may skip `dx`
and return None for it. `stream`, a `Stream`, is where `Dropout` takes its random numbers from in training;
without one a layer does what it does in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from xpnet.initializers import INITIALIZERS
from xpnet.namespace import Namespace
from xpnet.random import Stream, as_stream

Array = Any
Params = dict[str, Array]
Pullback = Callable[..., tuple[Array, Params]]


class Layer(Protocol):
    """What `Sequential` asks of its parts; a layer of your own needs no more."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        ...

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: str = "float32") -> Params:
        """Return initial parameters."""
        ...

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output and its pullback."""
        ...


@dataclasses.dataclass(frozen=True)
class Linear:
    """``y = x weight + bias``, with parameters `weight` ``(n_in, n_out)`` and `bias` ``(n_out,)``.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of features.
    initializer : str
        How `weight` is drawn, by name: see `xpnet.initializers`. `bias` starts at 0.
    """

    n_in: int
    n_out: int
    initializer: str = "lecun_normal"

    def __post_init__(self) -> None:
        for name in ("n_in", "n_out"):
            n = getattr(self, name)
            if not isinstance(n, int) or n < 1:
                raise ValueError(f"`{name}` must be a whole number above 0, got {n!r}")
        if self.initializer not in INITIALIZERS:
            raise ValueError(
                f"unknown initializer {self.initializer!r}: choose one of {', '.join(INITIALIZERS)}"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        return {"weight": (self.n_in, self.n_out), "bias": (self.n_out,)}

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: str = "float32") -> Params:
        """Return `weight` and `bias` as arrays of `xp`."""
        if dtype not in ("float32", "float64"):
            raise ValueError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
        draw = INITIALIZERS[self.initializer]
        weight = draw(as_stream(seed), self.n_in, self.n_out).astype(dtype)
        return {
            "weight": xp.asarray(weight),
            "bias": xp.zeros((self.n_out,), dtype=getattr(xp, dtype)),
        }

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return ``x weight + bias``, shape (batch, n_out), and its pullback."""
        xp.check_array("x", x)
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise ValueError(f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, {self.n_in})")
        if x.shape[0] == 0:
            raise ValueError(f"`x` has shape {tuple(x.shape)}: pass a batch of at least one row")
        weight = params["weight"]

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            dx, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy, input_gradient=input_gradient)
            return dx, {"weight": d_weight, "bias": d_bias}

        return xp.nn.linear(x, weight, params["bias"]), pullback


class _Unparametrised:
    """What layers without parameters share."""

    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: str = "float32") -> Params:
        """Return no parameters."""
        return {}


@dataclasses.dataclass(frozen=True)
class Sigmoid(_Unparametrised):
    """``y = 1 / (1 + exp(-x))``."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        y = xp.nn.sigmoid(x)
        return y, _through(xp.nn.sigmoid_backward, y)


@dataclasses.dataclass(frozen=True)
class ReLU(_Unparametrised):
    """``y = max(x, 0)``."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        y = xp.nn.relu(x)
        return y, _through(xp.nn.relu_backward, y)


@dataclasses.dataclass(frozen=True)
class Tanh(_Unparametrised):
    """``y = tanh(x)``."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        y = xp.nn.tanh(x)
        return y, _through(xp.nn.tanh_backward, y)


@dataclasses.dataclass(frozen=True)
class Softmax(_Unparametrised):
    """``y = exp(x) / sum(exp(x))`` along each row."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        y = xp.nn.softmax(x)
        return y, _through(xp.nn.softmax_backward, y)


@dataclasses.dataclass(frozen=True)
class Dropout(_Unparametrised):
    """In training, set features to 0 with probability `rate` and divide the others by ``1 - rate``.

    In use (without a `stream`) it passes its input on (Srivastava et al., 2014, in the inverted form).

    Parameters
    ----------
    rate : float
        In [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"`rate` must be in [0, 1), got {self.rate!r}")

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        if stream is None:
            return x, _through(lambda _, dy: dy, x)
        # Drawn on the host, so that one seed gives one mask on every backend.
        keep = xp.asarray(stream.keep_mask(tuple(x.shape), self.rate))
        factor = xp.astype(keep, x.dtype) * (1 / (1 - self.rate))
        return x * factor, _through(lambda factor, dy: factor * dy, factor)


def _through(backward: Callable[[Array, Array], Array], kept: Array) -> Pullback:
    """Return the pullback of a layer without parameters whose gradient needs `kept`."""

    def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
        return (backward(kept, dy) if input_gradient else None), {}

    return pullback
