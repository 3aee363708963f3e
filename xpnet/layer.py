"""What a layer is: plain data that say what is computed; its parameters are stored outside.

A layer has `shapes`, the names and shapes of its parameters; ``init(xp, seed, dtype=...)`` returns them as a
dict of arrays. It is called as ``y, pullback = layer(xp, params, x, stream=...)``, where `x` and `y` have the
shape ``(batch, features)``, or ``(batch, height, width, channels)`` of images. `pullback` takes `dy`, the
gradient of a scalar loss at `y`, and returns `dx`, the gradient at `x`, and a dict of the parameters'
gradients; with ``input_gradient=False`` it may skip `dx` and return None for it. `stream`, a `Stream`, gives
`Dropout` its random numbers in training; without one, a layer computes what it does in inference. In a step
that is compiled, pass ``stream.at(number)``, with the number of the step, which must be an argument: then it
is replayed with new masks at each call. In a process that has some rows of a batch, pass
``stream.at(number).from_row(first)``, with the number of the first one.

A layer may have *state*: arrays that training changes without gradients and that use reads, such as the
running means of `BatchNorm`. It then has

- `state_shapes`, their names and shapes, as `shapes` has those of the parameters;
- `init`, which returns parameters and initial state in one dict, as all other methods take them;
- ``y, pullback, state = layer.train(xp, params, x, stream=...)``, which is called in training in the place of
  the layer itself; `state` is a dict of the new state, which may have the memory of the old one.

A layer without state needs none of these. `Sequential` and `Residual` have all of them.

A dataclass of your own is saved and loaded like the layers of `xpnet` after `xpnet.register`. If it never
draws random numbers, it says so by ``draws = False`` in its class. A layer of your own must compute its new
state on the device with functions of `xp`, and keep nothing itself. If it calls only functions of `xp` and of
`xp.nn`, and operators of arrays, its step is compiled like any other: see `Namespace.compile`. To be exported
to ONNX, it has a method `to_onnx`, see `xpnet.onnx`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from xpnet.namespace import Namespace
from xpnet.random import Stream

Array = Any
Params = dict[str, Array]
Pullback = Callable[..., tuple[Array, Params]]
Shape = tuple[int | None, ...]
"""Of one row of a batch: (features,), or (height, width, channels); None for a length that is not known."""


class Layer(Protocol):
    """What `Sequential` requires of a layer; one of your own needs nothing else.

    A layer that changes the number of features also has `n_in` and `n_out`, the numbers that it takes and
    returns. A layer without them is taken to return as many as it is given. One that takes or gives images
    has `output_shape`, which takes the `Shape` of an input, or None if it is not known, and returns that of
    the output; if its `n_in` and `n_out` are numbers of channels, `takes_images` is True. One with state also
    has `state_shapes` and `train`, see this module.
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


class Unparametrised:
    """Base of the layers without parameters."""

    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return no parameters."""
        return {}


def through(xp: Namespace, backward: Callable[[Array, Array], Array], kept: Array) -> Pullback:
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


def check_float(xp: Namespace, x: Array) -> None:
    """Raise unless `x` is a float32 or float64 array of `xp`."""
    xp.check_array("x", x)
    if x.dtype != xp.float32 and x.dtype != xp.float64:
        raise TypeError(f"`x` must be float32 or float64, got {x.dtype}; pass `xp.astype(x, xp.float32)`")


def check_rows(xp: Namespace, x: Array, features: int) -> None:
    """Raise unless `x` is a batch of rows with so many features."""
    check_float(xp, x)
    if x.ndim != 2 or x.shape[1] != features:
        raise ValueError(f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, {features})")
    if x.shape[0] == 0:
        raise ValueError(f"`x` has shape {tuple(x.shape)}: pass a batch of at least one row")


def param(xp: Namespace, params: Params, name: str, shape: tuple[int, ...], x: Array) -> Array:
    """Return a parameter, or raise unless it is an array of `xp` of this shape with the dtype of `x`."""
    p = find_param(params, name)
    xp.check_array(name, p)
    if tuple(p.shape) != shape:
        raise ValueError(f"`{name}` has shape {tuple(p.shape)}, but this layer has {shape}")
    if p.dtype != x.dtype:
        raise TypeError(f"`x` is {x.dtype}, but `{name}` is {p.dtype}; pass `xp.astype(x, {name}.dtype)`")
    return p


def state_shapes(layer: Any) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the state of a layer; empty if it has none."""
    found: dict[str, tuple[int, ...]] = getattr(layer, "state_shapes", {})
    return found


def has_train(layer: Any) -> bool:
    """Return whether a layer computes something else in training, by its method `train`.

    One that a class inherits does not count if the class has a `__call__` of its own.
    """
    if not callable(getattr(layer, "train", None)):
        return False
    classes = [vars(kind) for kind in type(layer).__mro__]
    places = [next((i for i, own in enumerate(classes) if name in own), -1) for name in ("train", "__call__")]
    return places[0] <= places[1]


def in_training(
    layer: Any, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
) -> tuple[Array, Pullback, Params]:
    """Return the output of a layer in training, its pullback, and its new state."""
    if has_train(layer):
        found: tuple[Array, Pullback, Params] = layer.train(xp, params, x, stream=stream)
        return found
    return *layer(xp, params, x, stream=stream), {}


def find_param(params: Params, name: str) -> Array:
    """Return a parameter by name, or raise if there is none."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"`params` must be a dict of arrays, got {type(params).__name__}; pass what `init` returned"
        )
    if name not in params:
        raise ValueError(f"`params` has no {name!r}; pass what `init` returned")
    return params[name]
