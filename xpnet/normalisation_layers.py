"""The layers that normalise or standardise: rows of features, or images by their channels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from xpnet.checks import count, flag, float_name, fraction, positive, set_fields
from xpnet.layer import Array, Params, Pullback, Shape, check_float, check_gradient, param
from xpnet.moments import mean_and_deviation
from xpnet.namespace import Namespace
from xpnet.random import Stream


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """Rows of mean 0 and variance 1, times `scale`, plus `shift`; see `xpnet.nn.layer_norm`.

    Each pixel of an image is a row of channels.

    Parameters
    ----------
    n : int
        Number of features or channels, the shape of the parameters `scale` and `shift`.
    eps : float
        Added to the variance.
    """

    n: int
    eps: float = 1e-5

    def __post_init__(self) -> None:
        set_fields(self, n=count, eps=positive)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        return {"scale": (self.n,), "shift": (self.n,)}

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        return _checked_shape(shape, self.n)

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return `scale` of ones and `shift` of zeros."""
        return _initial(xp, self.n, dtype, scale=1, shift=0)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        _check_channels(xp, x, self.n)
        scale, shift = (param(xp, params, name, (self.n,), x) for name in ("scale", "shift"))
        y = xp.nn.layer_norm(x, scale, shift, eps=self.eps)
        return y, _pullback(xp, y, lambda dy: xp.nn.layer_norm_backward(x, scale, dy, eps=self.eps))


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """Features or channels of mean 0 and variance 1, times `scale`, plus `shift` (Ioffe and Szegedy, 2015).

    In training, mean and variance are those of the batch, see `xpnet.nn.batch_norm_training`. In use they are
    the state `mean` and `variance`, which training moves towards those of each batch, so that a row gives the
    same alone and in a batch.

    If several processes train, the rows of a batch are divided among them, see `xpnet.distributed`. By
    default, each process then normalises by its own rows, and the processes get the mean of their states
    after each epoch. With `sync`, all rows of the batch count in all processes, as in one process.

    Parameters
    ----------
    n : int
        Number of features or channels, the shape of the parameters `scale` and `shift` and of the state.
    momentum : float
        Share of the new batch in the state, in [0, 1).
    eps : float
        Added to the variance.
    sync : bool
        Whether mean and variance in training are those over all processes; see
        `xpnet.nn.synchronised`. Each layer then sums three short arrays over them in each step.
    """

    n: int
    momentum: float = 0.1
    eps: float = 1e-5
    sync: bool = dataclasses.field(default=False, metadata={"is_new": True})

    def __post_init__(self) -> None:
        set_fields(self, n=count, momentum=fraction, eps=positive, sync=flag)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters."""
        return {"scale": (self.n,), "shift": (self.n,)}

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the state."""
        return {"mean": (self.n,), "variance": (self.n,)}

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        return _checked_shape(shape, self.n)

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return `scale` and `variance` of ones, `shift` and `mean` of zeros."""
        return _initial(xp, self.n, dtype, scale=1, shift=0, mean=0, variance=1)

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output by the state, shape of `x`, and its pullback."""
        scale, shift, mean, variance = self._arrays(xp, params, x)
        y = xp.nn.batch_norm(x, scale, shift, mean, variance, eps=self.eps)

        def backward(dy: Array) -> tuple[Array, Array, Array]:
            found: Any = xp.nn.batch_norm_backward(x, scale, mean, variance, dy, eps=self.eps)
            return found[:3]

        return y, _pullback(xp, y, backward)

    def train(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback, Params]:
        """Return the output by the batch itself, shape of `x`, its pullback, and the new state."""
        scale, shift, *state = self._arrays(xp, params, x)
        if self.sync and xp.group is not None and xp.group.size > 1:
            y, pullback, *found = self._shared(xp, scale, shift, x)
        else:
            _check_several_rows(xp, x)
            y, *found = xp.nn.batch_norm_training(x, scale, shift, eps=self.eps)
            backward = xp.nn.batch_norm_training_backward
            pullback = _pullback(xp, y, lambda dy: backward(x, scale, dy, eps=self.eps))
        new = {
            name: xp.nn.moving_average(running, value, momentum=self.momentum)
            for name, running, value in zip(self.state_shapes, state, found, strict=True)
        }
        return y, pullback, new

    def _shared(
        self, xp: Namespace, scale: Array, shift: Array, x: Array
    ) -> tuple[Array, Pullback, Array, Array]:
        """Return the output by the rows of all processes, its pullback, and their mean and variance."""
        sums = xp.nn.all_reduce(xp.nn.batch_sums(x))
        mean, squares = xp.nn.batch_squares(x, sums)
        variance, unbiased = xp.nn.batch_variances(xp.nn.all_reduce(squares), sums)
        y = xp.nn.batch_norm(x, scale, shift, mean, variance, eps=self.eps)

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, y)
            d_scale, d_shift, slopes = xp.nn.batch_norm_slopes(x, mean, variance, dy, eps=self.eps)
            grads = {"scale": d_scale, "shift": d_shift}  # of these rows: training adds up those of all
            if not input_gradient:
                return None, grads
            given = x, scale, mean, variance, dy, xp.nn.all_reduce(slopes), sums
            return xp.nn.batch_norm_shared_backward(*given, eps=self.eps), grads

        return y, pullback, mean, unbiased

    def _arrays(self, xp: Namespace, params: Params, x: Array) -> list[Array]:
        """Return the parameters and the state, after a check of `x`."""
        _check_channels(xp, x, self.n)
        return [param(xp, params, name, (self.n,), x) for name in (*self.shapes, *self.state_shapes)]


@dataclasses.dataclass(frozen=True)
class Standardize:
    """Features or channels less their mean, over their standard deviation, as the training inputs have them.

    Mean and deviation are the state `mean` and `deviation`. As the first layer of a model, it gets them from
    `adapt` when training begins; both training and use apply them, and nothing changes them later.

    Parameters
    ----------
    n : int
        Number of features or channels, the shape of the state.
    """

    n: int
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __post_init__(self) -> None:
        set_fields(self, n=count)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the state."""
        return {"mean": (self.n,), "deviation": (self.n,)}

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of an output, or raise ValueError if the layer does not take such an input."""
        return _checked_shape(shape, self.n)

    def init(self, xp: Namespace, seed: int | Stream, *, dtype: Any = "float32") -> Params:
        """Return `mean` of zeros and `deviation` of ones, which change nothing."""
        return _initial(xp, self.n, dtype, mean=0, deviation=1)

    def adapt(self, xp: Namespace, inputs: Iterable[np.ndarray], dtype: Any) -> Params:
        """Return the state that standardises the training inputs; `xpnet.adapting` calls this.

        Parameters
        ----------
        inputs : iterable of NumPy arrays, shape (batch, n) or (batch, height, width, n), float
            Blocks of rows as they enter the model. The deviation of what is constant is 1.
        """
        found = zip(self.state_shapes, mean_and_deviation(inputs, self.n, float_name(xp, dtype)), strict=True)
        return {name: xp.asarray(values) for name, values in found}

    def __call__(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback]:
        """Return the output, shape of `x`, and its pullback."""
        _check_channels(xp, x, self.n)
        mean, deviation = (param(xp, params, name, (self.n,), x) for name in self.state_shapes)
        y = xp.nn.standardize(x, mean, deviation)

        def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
            check_gradient(xp, dy, y)
            return (xp.nn.standardize_backward(x, mean, deviation, dy)[0] if input_gradient else None), {}

        return y, pullback

    def train(
        self, xp: Namespace, params: Params, x: Array, *, stream: Stream | None = None
    ) -> tuple[Array, Pullback, Params]:
        """Return the output, shape of `x`, its pullback, and the state as it is."""
        return *self(xp, params, x), {name: params[name] for name in self.state_shapes}


LAYERS = LayerNorm, BatchNorm, Standardize


def _initial(xp: Namespace, n: int, dtype: Any, **values: int) -> Params:
    found = getattr(xp, float_name(xp, dtype))
    return {name: xp.full((n,), value, dtype=found) for name, value in values.items()}


def _pullback(xp: Namespace, y: Array, backward: Callable[[Array], tuple[Array, Array, Array]]) -> Pullback:
    """Return the pullback of a layer with `scale` and `shift`, given what returns all gradients."""

    def pullback(dy: Array, *, input_gradient: bool = True) -> tuple[Array, Params]:
        check_gradient(xp, dy, y)
        dx, d_scale, d_shift = backward(dy)
        return (dx if input_gradient else None), {"scale": d_scale, "shift": d_shift}

    return pullback


def _check_several_rows(xp: Namespace, x: Array) -> None:
    if math.prod(x.shape[:-1]) == 1:
        is_part = xp.group is not None and xp.group.size > 1
        raise ValueError(
            f"`x` has shape {tuple(x.shape)}, but BatchNorm in training needs more than one row, whose "
            "variance it takes; choose a batch size that leaves no batch of one"
            + (" to a process, or pass `sync=True`" if is_part else "")
        )


def _check_channels(xp: Namespace, x: Array, n: int) -> None:
    """Raise unless `x` is a batch of rows with so many features, or of images with so many channels."""
    check_float(xp, x)
    if x.ndim not in (2, 4) or x.shape[-1] != n or 0 in x.shape:
        raise ValueError(
            f"`x` has shape {tuple(x.shape)}, but this layer takes (batch, {n}) or "
            f"images (batch, height, width, {n}), at least one"
        )


def _checked_shape(shape: Shape | None, n: int) -> Shape | None:
    if shape is not None and (len(shape) not in (1, 3) or shape[-1] not in (None, n)):
        raise ValueError(f"takes {n} features or channels, but is given {shape}")
    return None if shape is None else (*shape[:-1], n)
