"""What a check of gradients differentiates: a loss, or a model with or without a loss, in float64."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet import checks, reprs, widths
from xpnet.differences import Arrays
from xpnet.layer import Params, in_training, state_shapes
from xpnet.loss import CLASSES, VALUES
from xpnet.losses import find_loss
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.random import Stream

Array = Any

INPUT, OUTPUTS = "input", "outputs"
_NOISE = 0.1  # of drawn parameters and state; where shifts are 0 and scales are 1, some errors do not show


class FixedLoss:
    """A loss at fixed targets; if they are None, random ones that suit it."""

    def __init__(self, xp: Namespace, loss: Any, targets: Any, random: np.random.Generator) -> None:
        self.loss = find_loss(loss)
        self._xp = xp
        self._random = random
        self._targets = None if targets is None else _as_targets(xp, targets)

    def both(self, outputs: Array) -> tuple[Array, Array]:
        """Return the loss and its gradient at the outputs."""
        if self._targets is None:
            shape = tuple(map(int, outputs.shape))
            self._targets = _as_targets(self._xp, _drawn_targets(self.loss.numbers_are, shape, self._random))
        value, gradient = self.loss.function(self._xp, outputs, self._targets)
        return value, gradient

    def values(self, arrays: Arrays) -> np.ndarray:
        """Return the loss as an array without axes."""
        return on_host(self._xp, self.both(self._xp.asarray(arrays[OUTPUTS]))[0])

    def gradients(self, arrays: Arrays, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradient of the loss."""
        outputs = self._xp.asarray(arrays[OUTPUTS])
        return {OUTPUTS: _checked(self._xp, OUTPUTS, self.both(outputs)[1], arrays)}


class Pass:
    """A model, or one of its layers, and the loss behind it, if there is one.

    Attributes
    ----------
    end : FixedLoss or None
    """

    def __init__(
        self, xp: Namespace, model: Any, end: FixedLoss | None, *, training: bool, seed: int
    ) -> None:
        self.end = end
        self._xp = xp
        # A loss may include the final activation.
        self._model = end.loss.trunk(model) if end is not None and isinstance(model, Sequential) else model
        self._options: dict[str, Any] = {"training": training, "seed": seed}

    @property
    def layers(self) -> Sequence[Any]:
        """The layers of a model that consists of layers, else none."""
        return self._model.layers if reprs.is_group(self._model) else ()

    def part(self, layer: Any) -> Pass:
        """Return one of the layers, to be checked in the same way."""
        return Pass(self._xp, layer, None, **self._options)

    def values(self, arrays: Arrays) -> np.ndarray:
        """Return the outputs, or the loss."""
        y, _ = self._forward(arrays)
        return on_host(self._xp, y if self.end is None else self.end.both(y)[0])

    def gradients(self, arrays: Arrays, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradients of the loss, or of the sum of the outputs times `weights`."""
        y, pullback = self._forward(arrays)
        dy = self._xp.asarray(weights) if self.end is None else self.end.both(y)[1]
        try:
            dx, grads = pullback(dy)
        except KeyError as e:
            raise ValueError(
                f"the pullback has no gradient {e}; return a dict with the gradient of each parameter"
            ) from e
        found = {INPUT: dx, **{name: grads.get(name) for name in self._model.shapes}}
        return {name: _checked(self._xp, name, gradient, arrays) for name, gradient in found.items()}

    def _forward(self, arrays: Arrays) -> tuple[Array, Callable[..., Any]]:
        """Return the output and the pullback; a layer that draws gets the same random numbers each time."""
        # Copies, because a layer may overwrite its state.
        params = {name: self._xp.asarray(x.copy()) for name, x in arrays.items() if name != INPUT}
        x = self._xp.asarray(arrays[INPUT])
        if self._options["training"]:
            stream = Stream(self._options["seed"], "dropout").at(1)
            y, pullback, _ = in_training(self._model, self._xp, params, x, stream=stream)
        else:
            y, pullback = self._model(self._xp, params, x)
        if y.dtype != self._xp.float64:
            raise TypeError(
                f"{reprs.of_layer(self._model)} returns {y.dtype} for float64; keep the dtype of `x`"
            )
        return y, pullback


def drawn_inputs(model: Any, shape: Any, batch_size: int, random: np.random.Generator) -> np.ndarray:
    """Return normal random numbers as inputs of a model, which tells their shape, or of this shape."""
    entering = widths.entering(model, None if shape is None else checks.shape(shape))
    if entering is None:
        raise ValueError(
            f"{reprs.of_layer(model)} does not tell the shape of its input; pass `shape=` of one input, such "
            "as `shape=(28, 28, 1)`, or `inputs`"
        )
    return random.normal(size=(batch_size, *(length or 1 for length in entering)))


def drawn_params(
    xp: Namespace, model: Any, params: Params | None, seed: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return parameters and state in float64: those given, or initial ones with noise."""
    shapes = {**model.shapes, **state_shapes(model)}
    given = model.init(xp, seed, dtype="float64") if params is None else params
    if {*given} != {*shapes}:
        raise ValueError(
            f"`params` has {', '.join(given) or 'nothing'}, but the model has "
            f"{', '.join(shapes) or 'nothing'}; pass what its `init` or a training returned"
        )
    found = {name: on_host(xp, given[name]) for name in shapes}
    if params is None:
        noise = {name: _NOISE * random.normal(size=shape) for name, shape in shapes.items()}
        # A variance, which is state, must stay positive.
        noise |= {name: np.abs(noise[name]) for name in state_shapes(model)}
        found = {name: x + noise[name] for name, x in found.items()}
    return found


def _as_targets(xp: Namespace, targets: Any) -> Array:
    """Return targets as a data set has them: class indices, or numbers in columns."""
    found = on_host(xp, targets, dtype=None)
    if found.ndim == 1 and found.dtype.kind in "iu":
        return xp.asarray(found.astype(np.int32))
    columns = found.reshape(-1, 1) if found.ndim == 1 else found
    return xp.asarray(columns.astype(np.float64))


def _drawn_targets(meaning: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if meaning == CLASSES:
        return random.integers(0, shape[1], shape[0])
    return random.normal(size=shape) if meaning == VALUES else random.integers(0, 2, shape)


def on_host(xp: Namespace, value: Any, *, dtype: Any = np.float64) -> np.ndarray:
    """Return an array of `xp`, or what NumPy can convert, as a NumPy array of its own."""
    is_host = isinstance(value, np.ndarray | np.generic | list | tuple | numbers.Number)
    return np.array(value if is_host else xp.to_host(value), dtype=dtype)


def _checked(xp: Namespace, name: str, gradient: Any, arrays: Arrays) -> np.ndarray:
    """Return a gradient on the host, or raise unless it has the shape of its array."""
    if gradient is None:
        raise ValueError(f"the pullback returned no gradient of `{name}`; return one for each parameter")
    found, shape = on_host(xp, gradient), arrays[name].shape
    if found.shape != shape:
        raise ValueError(f"the gradient of `{name}` has shape {found.shape}, but `{name}` has {shape}")
    return found
