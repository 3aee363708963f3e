"""Layers: plain data that say what is computed; their parameters are stored outside.

A layer has `shapes`, the names and shapes of its parameters; ``init(xp, seed, dtype=...)`` returns them as a
dict of arrays. It is called as ``y, pullback = layer(xp, params, x, stream=...)``, where `x` and `y` have the
shape ``(batch, features)``. `pullback` takes `dy`, the gradient of a scalar loss at `y`, and returns `dx`,
the gradient at `x`, and a dict of the parameters' gradients; with ``input_gradient=False`` it may skip `dx`
and return None for it. `stream`, a `Stream`, gives `Dropout` its random numbers in training; without
one, a layer computes what it does in inference. In a step that is compiled, pass ``stream.at(number)``, with
the number of the step, which must be an argument: then it is replayed with new masks at each call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from xpnet import nn
from xpnet.checks import choice, count, float_name, fraction, set_fields
from xpnet.initializers import INITIALIZERS
from xpnet.namespace import Namespace
from xpnet.random import Stream, as_stream

Array = Any
Params = dict[str, Array]
Pullback = Callable[..., tuple[Array, Params]]


class Layer(Protocol):
    """What `Sequential` requires of a layer; one of your own needs nothing else.

    A layer that changes the number of features also has `n_in` and `n_out`, the numbers that it takes and
    returns. A layer without them is taken to return as many as it is given.
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
    """Base of the layers without parameters."""

    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return no parameters."""
        return {}


@dataclasses.dataclass(frozen=True)
class Activation(_Unparametrised):
    """A function of `nn` as a layer; an activation is a subclass that names its function.

    Attributes
    ----------
    function : str
        The name of a function of one array that is declared with its gradient.
    initializer : str
        What `mlp` draws the weights of linear layers with: see `xpnet.initializers`.
    usual_lr : float
        A learning rate with which hidden units learn well if steps are proportional to the gradient.
    """

    function: ClassVar[str]
    initializer: ClassVar[str] = "lecun_normal"
    usual_lr: ClassVar[float] = 0.5

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        _check_float(xp, x)
        declared = nn.FUNCTIONS[self.function]
        if not declared.is_elementwise and (x.ndim != 2 or x.shape[1] == 0):
            raise ValueError(f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, features)")
        y = getattr(xp.nn, declared.name)(x)
        backward = getattr(xp.nn, str(declared.gradient))
        return y, _through(xp, backward, x if declared.keeps == "z" else y)


@dataclasses.dataclass(frozen=True)
class Sigmoid(Activation):
    """``y = 1 / (1 + exp(-x))``."""

    function = "sigmoid"
    # Its slope is at most 1/4; that of ReLU and tanh is 1. In four epochs on MNIST, 4 was better than 1, 0.5
    # and 0.2; ReLU and tanh learn best with 0.5 to 1.
    usual_lr = 4.0


@dataclasses.dataclass(frozen=True)
class ReLU(Activation):
    """``y = max(x, 0)``."""

    function = "relu"
    initializer = "he_normal"  # He et al. (2015) derived it for ReLU.


@dataclasses.dataclass(frozen=True)
class Tanh(Activation):
    """``y = tanh(x)``."""

    function = "tanh"


@dataclasses.dataclass(frozen=True)
class GELU(Activation):
    """``y = x`` times the normal CDF of `x`, approximated: see `xpnet.nn.gelu`."""

    function = "gelu"
    initializer = "he_normal"


@dataclasses.dataclass(frozen=True)
class SiLU(Activation):
    """``y = x sigmoid(x)``, also called swish."""

    function = "silu"
    initializer = "he_normal"


@dataclasses.dataclass(frozen=True)
class Softmax(Activation):
    """``y = exp(x) / sum(exp(x))`` along each row."""

    function = "softmax"


@dataclasses.dataclass(frozen=True)
class Dropout(_Unparametrised):
    """In training, set features to 0 with probability `rate` and divide the others by ``1 - rate``.

    Without a `stream`, as in inference, it returns its input (inverted dropout; Srivastava et al., 2014). One
    seed gives the same masks on every backend; see `Stream.at`.

    Parameters
    ----------
    rate : float
        In [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        set_fields(self, rate=fraction)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        _check_float(xp, x)
        if stream is None:
            return x, _through(xp, lambda _, dy: dy, x)
        key, step = stream.next_key()
        y = xp.nn.dropout(x, key, step, self.rate)
        return y, _through(xp, lambda _, dy: xp.nn.dropout_backward(dy, key, step, self.rate), y)


def _through(xp: Namespace, backward: Callable[[Array, Array], Array], kept: Array) -> Pullback:
    """Return the pullback of a layer without parameters; `kept` has the shape and the dtype of the output."""

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


# Classes of your own are in neither, because no file that was saved can hold their code.
_kinds: list[type[Any]] = [Linear, *Activation.__subclasses__(), Dropout]
LAYERS = {kind.__name__: kind for kind in _kinds}
"""The layers of `xpnet`, by the name of the class."""

ACTIVATIONS = {
    kind.function: kind for kind in Activation.__subclasses__() if nn.FUNCTIONS[kind.function].is_activation
}
"""The elementwise activations, by the name of their function."""
