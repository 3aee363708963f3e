"""Models: layers one after another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from xpnet import checks
from xpnet.checks import float_name
from xpnet.layers import ACTIVATIONS, Layer, Linear, Params, Pullback, check_gradient, find_param
from xpnet.namespace import Namespace
from xpnet.random import Stream, as_stream

Array = Any

# Each level takes frames of Python when a model is called, compared or loaded.
MOST_LEVELS = 100


@dataclasses.dataclass(frozen=True, init=False)
class Sequential:
    """Layers one after another; itself a layer.

    The names of the parameters of layer `i` begin with `i`: ``"0.weight"``, ``"0.bias"``, ``"2.weight"``.

    Parameters
    ----------
    *layers : Layer

    Attributes
    ----------
    layers : tuple of Layer
    shapes : dict of str to tuple of int
        The names and shapes of all parameters, in order.
    n_in, n_out : int or None
        `n_in` of the first layer that has it, and `n_out` of the last one, nested layers included; None if no
        layer has it.

    Raises
    ------
    ValueError
        If there is no layer, if a layer takes another number of features than it is given, or if models are
        nested more than `MOST_LEVELS` (100) deep.
    """

    layers: tuple[Layer, ...]
    _names: tuple[tuple[tuple[str, str], ...], ...] = dataclasses.field(repr=False, compare=False)
    # Computed once: a nested model would otherwise ask its own layers again at every level.
    _shapes: dict[str, tuple[int, ...]] = dataclasses.field(repr=False, compare=False)
    _widths: tuple[int | None, int | None] = dataclasses.field(repr=False, compare=False)
    _levels: int = dataclasses.field(repr=False, compare=False)

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("a model needs at least one layer, got none")
        _check_layers(layers)
        shapes = [layer.shapes for layer in layers]
        names = tuple(tuple((name, f"{i}.{name}") for name in own) for i, own in enumerate(shapes))
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "_names", names)
        found = {f"{i}.{name}": checks.shape(own[name]) for i, own in enumerate(shapes) for name in own}
        object.__setattr__(self, "_shapes", found)
        object.__setattr__(self, "_widths", _checked_widths(layers))
        object.__setattr__(self, "_levels", _checked_levels(layers))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all parameters, in order."""
        return dict(self._shapes)

    @property
    def n_in(self) -> int | None:
        """The number of features of an input, if a layer has it."""
        return self._widths[0]

    @property
    def n_out(self) -> int | None:
        """The number of features of an output, if a layer has it."""
        return self._widths[1]

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return initial parameters as arrays of `xp`.

        Parameters
        ----------
        xp : Namespace
        seed : int or Stream
            One seed gives the same parameters, bit for bit, on every backend.
        dtype : {"float32", "float64"}, or that dtype of `xp`
        """
        stream = as_stream(seed)
        params: Params = {}
        for layer, names in zip(self.layers, self._names, strict=True):
            own = layer.init(xp, stream, dtype=dtype)
            params.update((full, own[name]) for name, full in names if name in own)
        if self._shapes and check_params(xp, self, params) != float_name(xp, dtype):
            raise ValueError(f"the layers' `init` must make parameters of the dtype asked for, {dtype!r}")
        return params

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output of the last layer and the pullback through all of them."""
        pullbacks = []
        for layer, names in zip(self.layers, self._names, strict=True):
            own = {name: find_param(params, full) for name, full in names}
            x, pullback = layer(xp, own, x, stream=stream)
            pullbacks.append(pullback)

        def backward(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, x)
            grads: Params = {}
            for i in range(len(pullbacks) - 1, -1, -1):
                # Below the first layer with parameters, gradients are needed only for the input.
                wanted = input_gradient or any(self._names[:i])
                dy, own = pullbacks[i](dy, input_gradient=wanted)
                grads.update((full, own[name]) for name, full in self._names[i])
                if not wanted:
                    return None, grads
            return dy, grads

        return x, backward


def check_params(xp: Namespace, model: Sequential, params: Params) -> str:
    """Return the name of the dtype of `params`, or raise unless they are all of `model`'s, on `xp`."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"`params` must be a dict of arrays, got {type(params).__name__}; "
            "pass the `params` of a run, or what the model's `init` returned"
        )
    shapes = model.shapes
    if set(params) != set(shapes):
        raise ValueError(
            f"`params` has {', '.join(params) or 'nothing'}, but the model has {', '.join(shapes)}; "
            "pass the `params` of a run of this model, or what its `init` returned"
        )
    names = set()
    for name, shape in shapes.items():
        p = params[name]
        xp.check_array(f"params[{name!r}]", p)
        if tuple(p.shape) != shape:
            raise ValueError(f"`params` has shape {tuple(p.shape)} for {name!r}, but the model has {shape}")
        names.add(_params_dtype(xp, name, p))
    if len(names) != 1:
        raise ValueError("`params` mixes float32 and float64; pass one dtype")
    return names.pop()


def _params_dtype(xp: Namespace, name: str, p: Array) -> str:
    try:
        return float_name(xp, p.dtype)
    except ValueError:
        raise TypeError(
            f"`params` must be float32 or float64, got {p.dtype} for {name!r}; "
            f"pass `xp.astype(params[{name!r}], xp.float32)`"
        ) from None


def copy_params(xp: Namespace, params: Params) -> Params:
    """Return copies of arrays of `xp`, each stored row by row (C-contiguous)."""
    # `asarray` keeps the memory order of an array; one with a single axis has only one order.
    return {
        name: xp.reshape(xp.asarray(xp.reshape(p, (-1,)), copy=True), p.shape) for name, p in params.items()
    }


def mlp(*sizes: int, activation: str = "sigmoid", initializer: str | None = None) -> Sequential:
    """Return a multilayer perceptron, which returns logits: no activation follows the last linear layer.

    Parameters
    ----------
    *sizes : int
        Numbers of features: inputs, hidden layers, outputs. ``mlp(784, 64, 10)`` has one hidden layer.
    activation : str
        Follows every linear layer but the last: an elementwise activation, by its name in `xpnet.nn`.
    initializer : str, optional
        How weights are drawn: see `xpnet.initializers`. If omitted, as suits the activation:
        ``"he_normal"`` for ReLU.
    """
    if len(sizes) < 2:
        raise ValueError(
            f"`sizes` must have at least inputs and outputs, got {sizes!r}; pass them one by one, "
            "for example `mlp(784, 64, 10)`"
        )
    hidden = ACTIVATIONS[checks.choice(ACTIVATIONS)("activation", activation)]
    if initializer is None:
        initializer = hidden.initializer
    layers: list[Layer] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [Linear(n_in, n_out, initializer), hidden()]
    return Sequential(*layers[:-1])


def _check_layers(layers: Sequence[Any]) -> None:
    for i, layer in enumerate(layers):
        if isinstance(layer, type) or not hasattr(layer, "shapes"):
            raise TypeError(f"layer {i} is {layer!r}; pass layers, such as `xpnet.ReLU()`")


def _checked_levels(layers: Sequence[Any]) -> int:
    """Return how deep models are nested in these layers, the model made of them included."""
    levels = 1 + max(getattr(layer, "_levels", 0) for layer in layers)
    if levels > MOST_LEVELS:
        raise ValueError(f"models are nested {levels} deep; nest at most {MOST_LEVELS}")
    return levels


def _checked_widths(layers: Sequence[Any]) -> tuple[int | None, int | None]:
    """Return the numbers of features that enter and leave the layers, or raise unless these fit together."""
    entering, given, giver = None, None, None
    for i, layer in enumerate(layers):
        n_in, n_out = (_width(layer, name) for name in ("n_in", "n_out"))
        if None not in (n_in, given) and n_in != given:
            raise ValueError(f"layer {i} takes {n_in} features, but layer {giver} gives {given}")
        if given is None:
            entering = n_in if entering is None else entering
        if n_out is not None:
            given, giver = n_out, i
    return entering, given


def _width(layer: Any, name: str) -> int | None:
    """Return `n_in` or `n_out` of a layer, if it has that."""
    width = getattr(layer, name, None)
    return None if width is None else checks.count(name, width)
