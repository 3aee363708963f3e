"""Models: layers one after another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from xpnet import checks, reprs, widths
from xpnet.checks import float_name
from xpnet.layer import (
    Layer,
    Params,
    Pullback,
    Shape,
    check_gradient,
    find_param,
    has_train,
    in_training,
    state_shapes,
)
from xpnet.layers import ACTIVATIONS, Linear
from xpnet.namespace import Namespace
from xpnet.random import Stream, as_stream
from xpnet.summary import summary

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
    state_shapes : dict of str to tuple of int
        Those of the state of all layers; what training changes without gradients.
    n_in, n_out : int or None
        Numbers of features: `n_in` of the first layer that has it, and `n_out` of the last one, nested layers
        included; None if no layer has it, or if images enter or leave.

    Raises
    ------
    ValueError
        If there is no layer, if a layer takes other features or images than it is given, if state has the
        name of a parameter, or if models are nested more than `MOST_LEVELS` (100) deep.
    TypeError
        If what should be a layer is none, or has state but no `train`.
    """

    layers: tuple[Layer, ...]
    _names: tuple[tuple[tuple[str, str], ...], ...] = dataclasses.field(repr=False, compare=False)
    # Computed once: a nested model would otherwise ask its own layers again at every level.
    _shapes: dict[str, tuple[int, ...]] = dataclasses.field(repr=False, compare=False)
    _state_names: tuple[tuple[tuple[str, str], ...], ...] = dataclasses.field(repr=False, compare=False)
    _state_shapes: dict[str, tuple[int, ...]] = dataclasses.field(repr=False, compare=False)
    _widths: tuple[int | None, Shape | None] = dataclasses.field(repr=False, compare=False)
    _takes_images: bool = dataclasses.field(repr=False, compare=False)
    _levels: int = dataclasses.field(repr=False, compare=False)

    __repr__ = reprs.of_group
    summary = summary

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("a model needs at least one layer, got none")
        _check_layers(layers)
        shapes, states = [layer.shapes for layer in layers], [state_shapes(layer) for layer in layers]
        _check_states(layers, shapes, states)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "_names", _full_names(shapes))
        object.__setattr__(self, "_shapes", _full_shapes(shapes))
        object.__setattr__(self, "_state_names", _full_names(states))
        object.__setattr__(self, "_state_shapes", _full_shapes(states))
        object.__setattr__(self, "_widths", widths.through(layers))
        takes_images = any(getattr(layer, "takes_images", False) for layer in layers)
        object.__setattr__(self, "_takes_images", self.n_in is None and takes_images)
        object.__setattr__(self, "_levels", _checked_levels(layers))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all parameters, in order."""
        return dict(self._shapes)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the state of all layers, in order."""
        return dict(self._state_shapes)

    @property
    def n_in(self) -> int | None:
        """The number of features of an input, if a layer has it."""
        return self._widths[0]

    @property
    def n_out(self) -> int | None:
        """The number of features of an output, if a layer has it."""
        shape = self._widths[1]
        return shape[0] if shape is not None and len(shape) == 1 else None

    @property
    def takes_images(self) -> bool:
        """Whether images enter, and not rows of features."""
        return self._takes_images

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of an output, or raise ValueError if the layers do not take such an input."""
        # What is known without the input; asking all layers again at every level of nesting would add up.
        known = self._widths[1]
        if shape is None or (known is not None and None not in known and self.n_in is not None):
            return known
        return widths.through(self.layers, shape)[1]

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return initial parameters, and the initial state if layers have it, as arrays of `xp`.

        Parameters
        ----------
        xp : Namespace
        seed : int or Stream
            One seed gives the same parameters, bit for bit, on every backend.
        dtype : {"float32", "float64"}, or that dtype of `xp`
        """
        stream = as_stream(seed)
        params: Params = {}
        for layer, names, states in zip(self.layers, self._names, self._state_names, strict=True):
            own = layer.init(xp, stream, dtype=dtype)
            params.update((full, own[name]) for name, full in (*names, *states) if name in own)
        if (self._shapes or self._state_shapes) and check_params(xp, self, params) != float_name(xp, dtype):
            raise ValueError(f"the layers' `init` must make parameters of the dtype asked for, {dtype!r}")
        return params

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output of the last layer and the pullback through all of them."""
        pullbacks = []
        for layer, names, states in zip(self.layers, self._names, self._state_names, strict=True):
            own = {name: find_param(params, full) for name, full in (*names, *states)}
            x, pullback = layer(xp, own, x, stream=stream)
            pullbacks.append(pullback)
        return x, self._through(xp, pullbacks, x)

    def train(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback, Params]:
        """Return the output of the last layer in training, the pullback through all, and the new state.

        The state passed in may be overwritten; use what is returned.
        """
        pullbacks, state = [], {}
        for i, layer in enumerate(self.layers):
            own = {name: find_param(params, full) for name, full in (*self._names[i], *self._state_names[i])}
            x, pullback, new = in_training(layer, xp, own, x, stream=stream)
            pullbacks.append(pullback)
            for name, full in self._state_names[i]:
                if name not in new:
                    raise ValueError(f"`train` of layer {i}, {layer!r}, returned no new state {name!r}")
                state[full] = new[name]
        return x, self._through(xp, pullbacks, x), state

    def _through(self, xp: Namespace, pullbacks: Sequence[Pullback], y: Array) -> Pullback:
        """Return the pullback through all layers, given theirs and the output."""

        def backward(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, y)
            grads: Params = {}
            for i in range(len(pullbacks) - 1, -1, -1):
                # Below the first layer with parameters, gradients are needed only for the input.
                wanted = input_gradient or any(self._names[:i])
                dy, own = pullbacks[i](dy, input_gradient=wanted)
                grads.update((full, own[name]) for name, full in self._names[i])
                if not wanted:
                    return None, grads
            return dy, grads

        return backward


@dataclasses.dataclass(frozen=True, init=False)
class Residual:
    """The sum of its input and what its layers make of it (He et al., 2016); itself a layer.

    Parameters
    ----------
    *layers : Layer
        They return as many features, or images of the same shape, as they take.

    Attributes
    ----------
    inner : Sequential
        The layers; the parameters have the names that they have there.

    Raises
    ------
    ValueError
        If the layers give another shape than they take, or see `Sequential`.
    """

    inner: Sequential

    __repr__ = reprs.of_group

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "inner", Sequential(*layers))
        n_in = self.inner.n_in
        self.output_shape(None if n_in is None else (n_in,))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose output is added."""
        return self.inner.layers

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all parameters, in order."""
        return self.inner.shapes

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the state of all layers, in order."""
        return self.inner.state_shapes

    @property
    def n_in(self) -> int | None:
        """The number of features of an input, if a layer has it."""
        return self.inner.n_in

    @property
    def takes_images(self) -> bool:
        """Whether images enter, and not rows of features."""
        return self.inner.takes_images

    @property
    def n_out(self) -> int | None:
        """The number of features of an output, if a layer has it."""
        return self.inner.n_out

    @property
    def _levels(self) -> int:
        return self.inner._levels

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of an input, or raise ValueError if the layers give another one."""
        made = self.inner.output_shape(shape)
        if shape is not None and made is not None and not _may_be_equal(shape, made):
            raise ValueError(f"Residual adds its input, {shape}, to what its layers give, {made}")
        return made if shape is None else shape

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return initial parameters, and the initial state if layers have it, as arrays of `xp`."""
        return self.inner.init(xp, seed, dtype=dtype)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return ``x`` plus the output of the layers, and the pullback through both ways."""
        return self._added(xp, x, *self.inner(xp, params, x, stream=stream))

    def train(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback, Params]:
        """Return ``x`` plus the output of the layers in training, the pullback, and the new state."""
        y, inner, state = self.inner.train(xp, params, x, stream=stream)
        return *self._added(xp, x, y, inner), state

    def _added(self, xp: Namespace, x: Array, y: Array, inner: Pullback) -> tuple[Array, Pullback]:
        """Return ``x + y``, and the pullback through both ways, given that through the layers."""
        if y.shape != x.shape:
            raise ValueError(
                f"`x` has shape {tuple(x.shape)}, but the layers of this Residual give {tuple(y.shape)}"
            )
        total = xp.nn.add(x, y)

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array | None, Params]:
            check_gradient(xp, dy, total)
            dx, grads = inner(dy, input_gradient=input_gradient)
            return (xp.nn.add(dy, dx) if input_gradient else None), grads

        return total, pullback


def _may_be_equal(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )


def check_params(xp: Namespace, model: Sequential, params: Params) -> str:
    """Return the name of the dtype of `params`, or raise unless they are all of `model`'s, on `xp`."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"`params` must be a dict of arrays, got {type(params).__name__}; "
            "pass the `params` of a run, or what the model's `init` returned"
        )
    shapes = model.shapes | model.state_shapes
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


def _full_names(shapes: Sequence[Mapping[str, Any]]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the names of the arrays of each layer, alone and with its number."""
    return tuple(tuple((name, f"{i}.{name}") for name in own) for i, own in enumerate(shapes))


def _full_shapes(shapes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {f"{i}.{name}": checks.shape(own[name]) for i, own in enumerate(shapes) for name in own}


def _check_states(
    layers: Sequence[Any], shapes: Sequence[Mapping[str, Any]], states: Sequence[Mapping[str, Any]]
) -> None:
    for i, (layer, own, state) in enumerate(zip(layers, shapes, states, strict=True)):
        if state and not has_train(layer):
            raise TypeError(
                f"layer {i}, {layer!r}, has `state_shapes` but no `train`; "
                "write one that returns the new state"
            )
        if own.keys() & state.keys():
            both = ", ".join(sorted(own.keys() & state.keys()))
            raise ValueError(f"layer {i}, {layer!r}, has {both} both as parameter and as state; rename one")


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
