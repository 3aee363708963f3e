"""The layers: see `xpnet.layer` for what a layer is."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from xpnet import augmentation_layers, image_layers, nn, normalisation_layers
from xpnet.checks import choice, count, float_name, fraction, set_fields
from xpnet.initializers import INITIALIZERS
from xpnet.layer import (
    Array,
    Params,
    Pullback,
    Unparametrised,
    check_float,
    check_gradient,
    check_rows,
    param,
    through,
)
from xpnet.namespace import Namespace
from xpnet.random import Stream, as_stream


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
        check_rows(xp, x, self.n_in)
        weight = param(xp, params, "weight", (self.n_in, self.n_out), x)
        bias = param(xp, params, "bias", (self.n_out,), x)
        y = xp.nn.linear(x, weight, bias)

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, y)
            dx, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy, input_gradient=input_gradient)
            return dx, {"weight": d_weight, "bias": d_bias}

        return y, pullback


@dataclasses.dataclass(frozen=True)
class Activation(Unparametrised):
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
        check_float(xp, x)
        declared = nn.FUNCTIONS[self.function]
        if not declared.is_elementwise and (x.ndim != 2 or x.shape[1] == 0):
            raise ValueError(f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, features)")
        y = getattr(xp.nn, declared.name)(x)
        backward = getattr(xp.nn, str(declared.gradient))
        return y, through(xp, backward, x if declared.keeps == "z" else y)


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
class Dropout(Unparametrised):
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
        check_float(xp, x)
        if stream is None:
            return x, through(xp, lambda _, dy: dy, x)
        drawing = *stream.next_key(), self.rate
        first = stream.first_row * math.prod(x.shape[1:])
        y = xp.nn.dropout(x, *drawing, first=first)
        return y, through(xp, lambda _, dy: xp.nn.dropout_backward(dy, *drawing, first=first), y)


@dataclasses.dataclass(frozen=True)
class LeakyReLU(Unparametrised):
    """``y = x`` where `x` is positive, else ``slope * x``.

    Parameters
    ----------
    slope : float
        In [0, 1).
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        set_fields(self, slope=fraction)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        check_float(xp, x)
        y = xp.nn.leaky_relu(x, slope=self.slope)
        return y, through(xp, lambda x, dy: xp.nn.leaky_relu_backward(x, dy, slope=self.slope), x)


# Classes of your own are in neither, because no file that was saved can hold their code.
_kinds: list[type[Any]] = [
    Linear,
    *Activation.__subclasses__(),
    LeakyReLU,
    Dropout,
    *normalisation_layers.LAYERS,
    *image_layers.LAYERS,
    *augmentation_layers.LAYERS,
]
LAYERS = {kind.__name__: kind for kind in _kinds}
"""The layers of `xpnet`, by the name of the class."""

DRAWING = Dropout, *augmentation_layers.LAYERS
"""The layers that draw random numbers in training."""

ACTIVATIONS = {
    kind.function: kind for kind in Activation.__subclasses__() if nn.FUNCTIONS[kind.function].is_activation
}
"""The elementwise activations, by the name of their function."""
