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
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from xpnet.checks import choice, count, set_fields, share
from xpnet.errors import shortened
from xpnet.initializers import INITIALIZERS
from xpnet.namespace import Namespace
from xpnet.random import Stream, as_stream

Array = Any
Params = dict[str, Array]
Pullback = Callable[..., tuple[Array, Params]]


class Layer(Protocol):
    """What `Sequential` asks of its parts; a layer of your own needs no more.

    A layer that changes the number of features also has `n_in` and `n_out`, the numbers that it takes and
    gives. One without them is taken to give as many as it is given.
    """

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        ...

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
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
        set_fields(self, n_in=count, n_out=count, initializer=choice(INITIALIZERS))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        return {"weight": (self.n_in, self.n_out), "bias": (self.n_out,)}

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return `weight` and `bias` as arrays of `xp`."""
        dtype = float_name(xp, dtype)
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
        _check_float(xp, x)
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise ValueError(f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, {self.n_in})")
        if x.shape[0] == 0:
            raise ValueError(f"`x` has shape {tuple(x.shape)}: pass a batch of at least one row")
        weight = _param(xp, params, "weight", (self.n_in, self.n_out), x)
        bias = _param(xp, params, "bias", (self.n_out,), x)
        y = xp.nn.linear(x, weight, bias)

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, y)
            dx, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy, input_gradient=input_gradient)
            return dx, {"weight": d_weight, "bias": d_bias}

        return y, pullback


class _Unparametrised:
    """What layers without parameters share."""

    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return no parameters."""
        return {}


@dataclasses.dataclass(frozen=True)
class Sigmoid(_Unparametrised):
    """``y = 1 / (1 + exp(-x))``."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        return _activate(xp, xp.nn.sigmoid, xp.nn.sigmoid_backward, x)


@dataclasses.dataclass(frozen=True)
class ReLU(_Unparametrised):
    """``y = max(x, 0)``."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        return _activate(xp, xp.nn.relu, xp.nn.relu_backward, x)


@dataclasses.dataclass(frozen=True)
class Tanh(_Unparametrised):
    """``y = tanh(x)``."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        return _activate(xp, xp.nn.tanh, xp.nn.tanh_backward, x)


@dataclasses.dataclass(frozen=True)
class Softmax(_Unparametrised):
    """``y = exp(x) / sum(exp(x))`` along each row."""

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        _check_float(xp, x)
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, features)")
        return _activate(xp, xp.nn.softmax, xp.nn.softmax_backward, x)


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
        set_fields(self, rate=share)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        _check_float(xp, x)
        if stream is None:
            return x, _through(xp, lambda _, dy: dy, x)
        # Drawn on the host, so that one seed gives one mask on every backend.
        keep = xp.asarray(stream.keep_mask(tuple(x.shape), self.rate))
        factor = xp.astype(keep, x.dtype) * (1 / (1 - self.rate))
        return x * factor, _through(xp, lambda factor, dy: factor * dy, factor)


def _activate(
    xp: Namespace,
    forward: Callable[[Array], Array],
    backward: Callable[[Array, Array], Array],
    x: Array,
) -> tuple[Array, Pullback]:
    _check_float(xp, x)
    y = forward(x)
    return y, _through(xp, backward, y)


def _through(xp: Namespace, backward: Callable[[Array, Array], Array], kept: Array) -> Pullback:
    """Return the pullback of a layer without parameters that needs `kept`, in shape and dtype the output."""

    def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
        check_gradient(xp, dy, kept)
        return (backward(kept, dy) if input_gradient else None), {}

    return pullback


def check_gradient(xp: Namespace, dy: Array, y: Array) -> None:
    """Raise unless `dy` is an array of `xp` with the shape and the dtype of the output `y`."""
    xp.check_array("dy", dy)
    if dy.shape != y.shape:
        raise ValueError(
            f"`dy` has shape {tuple(dy.shape)}, but the output has {tuple(y.shape)}; "
            "pass the gradient at this output"
        )
    if dy.dtype != y.dtype:
        raise TypeError(f"`dy` is {dy.dtype}, but the output is {y.dtype}; pass `xp.astype(dy, y.dtype)`")


def _check_float(xp: Namespace, x: Array) -> None:
    """Raise unless `x` is a float32 or float64 array of `xp`."""
    xp.check_array("x", x)
    if x.dtype != xp.float32 and x.dtype != xp.float64:
        raise TypeError(f"`x` must be float32 or float64, got {x.dtype}; pass `xp.astype(x, xp.float32)`")


def _param(xp: Namespace, params: Params, name: str, shape: tuple[int, ...], x: Array) -> Array:
    """Return a parameter, or raise unless it is an array of `xp` of this shape with the dtype of `x`."""
    p = find_param(params, name)
    xp.check_array(name, p)
    if tuple(p.shape) != shape:
        raise ValueError(f"`{name}` has shape {tuple(p.shape)}, but this layer has {shape}")
    if p.dtype != x.dtype:
        raise TypeError(f"`x` is {x.dtype}, but `{name}` is {p.dtype}; pass `xp.astype(x, {name}.dtype)`")
    return p


def find_param(params: Params, name: str) -> Array:
    """Return a parameter by name, or raise if there is none."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"`params` must be a dict of arrays, got {type(params).__name__}; pass what `init` returned"
        )
    if name not in params:
        raise ValueError(f"`params` has no {name!r}; pass what `init` returned")
    return params[name]


def float_name(xp: Namespace, dtype: Any) -> str:
    """Return ``"float32"`` or ``"float64"`` for that name or for that dtype of `xp`."""
    for name in ("float32", "float64"):
        if isinstance(dtype, str) and dtype == name:
            return name
        if not isinstance(dtype, str) and dtype == getattr(xp, name, None):
            return name
    raise ValueError(f"`dtype` must be 'float32' or 'float64', got {shortened(repr(dtype), 100)}")
