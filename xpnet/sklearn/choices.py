"""What the parameters of an estimator stand for, checked when it is fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

import xpnet
from xpnet import checks
from xpnet.layer import Layer
from xpnet.layers import ACTIVATIONS
from xpnet.models import Sequential
from xpnet.optim import OPTIMIZERS, Optimizer
from xpnet.sklearn.stopping import Stopping

_BATCH = 200  # scikit-learn's "auto"
# scikit-learn's names of activations; of "identity" there is no layer.
_ALSO = {"logistic": "sigmoid", "identity": None}


def found_backend(backend: Any) -> xpnet.Namespace:
    """Return the namespace of the parameter `backend`."""
    return backend if isinstance(backend, xpnet.Namespace) else xpnet.backend(backend)


def found_model(estimator: Any, n_in: int, n_out: int, *, is_rows: bool) -> Sequential:
    """Return the network of an estimator, given the numbers of features and of outputs.

    `is_rows` says whether the inputs are rows of features, and not images.
    """
    model = estimator.model
    if isinstance(model, Sequential):
        return model
    if callable(model):
        made = model(n_in, n_out)
        if not isinstance(made, Sequential):
            raise TypeError(f"`model` must return a Sequential, got {made!r} for ({n_in}, {n_out})")
        return made
    if model is not None:
        raise TypeError(
            f"`model` must be a Sequential or a function of (n_in, n_out) that returns one, got {model!r}"
        )
    name = checks.choice([*ACTIVATIONS, *_ALSO])("activation", estimator.activation)
    hidden = _ALSO.get(name, name)
    sizes = (n_in, *_sizes(estimator.hidden_layer_sizes), n_out)
    # As in scikit-learn. On `load_diabetes`, R^2 is 0.47 with early stopping, and 0.41 with He's weights.
    layers = xpnet.mlp(*sizes, activation=hidden or "sigmoid", initializer="glorot_uniform").layers
    if hidden is None:
        layers = tuple(layer for layer in layers if isinstance(layer, xpnet.Linear))
    first: list[Layer] = [xpnet.Standardize(n_in)] if flag(estimator, "standardize") and is_rows else []
    return Sequential(*first, *layers)


def found_optimizer(estimator: Any) -> Optimizer:
    """Return the optimizer of an estimator: the one that was passed, or one by its name."""
    optimizer, decay = estimator.optimizer, estimator.weight_decay
    if not isinstance(optimizer, str):
        if decay is not None:
            raise ValueError(f"`weight_decay` is a field of the optimizer; pass it in {optimizer!r}")
        return optimizer
    kind = OPTIMIZERS[checks.choice(OPTIMIZERS)("optimizer", optimizer)]
    lr = checks.positive("learning_rate_init", estimator.learning_rate_init)
    return kind(lr=lr) if decay is None else kind(lr=lr, weight_decay=decay)


def found_batch_size(estimator: Any) -> int:
    """Return the number of samples of a batch."""
    size = estimator.batch_size
    return _BATCH if isinstance(size, str) and size == "auto" else checks.count("batch_size", size)


def found_seed(random_state: Any) -> int:
    """Return a seed: `random_state` itself if it is one, else one that is drawn from it."""
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return int(check_random_state(random_state).randint(2**31))
    try:
        return checks.seed(random_state)
    except (TypeError, ValueError) as e:
        raise type(e)(
            f"`random_state` must be None, a whole number from 0 on or a RandomState, got {random_state!r}"
        ) from e


def found_dtype(dtype: Any, inputs: np.ndarray) -> str:
    """Return the dtype of all arithmetic: that of rows of numbers if none was passed, float32 of pixels."""
    if dtype is None:
        return "float64" if inputs.dtype == np.float64 else "float32"
    return checks.float_name(np, dtype)


def found_stopping(estimator: Any) -> Stopping:
    """Return what ends a training: no gain of `tol` in `n_iter_no_change` epochs."""
    return Stopping(
        checks.count("n_iter_no_change", estimator.n_iter_no_change),
        checks.nonnegative("tol", estimator.tol),
        "validation_loss" if flag(estimator, "early_stopping") else "train_loss",
    )


def _sizes(value: Any) -> tuple[int, ...]:
    found = value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    return tuple(checks.count("hidden_layer_sizes", size) for size in found)


def flag(estimator: Any, name: str) -> bool:
    """Return a parameter that is True or False."""
    value = getattr(estimator, name)
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


Model = Sequential | Callable[[int, int], Sequential] | None
