"""The estimator of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d

from xpnet.datasets import Dataset
from xpnet.loss import Loss
from xpnet.namespace import Namespace
from xpnet.optim import Optimizer
from xpnet.run import Run
from xpnet.sklearn.arrays import like
from xpnet.sklearn.choices import Model
from xpnet.sklearn.network import Network


class XPRegressor(RegressorMixin, Network):
    """A neural network as a scikit-learn regressor, of one number or several.

    Targets are predicted as they are: if they are far from 0 or large, let
    `sklearn.compose.TransformedTargetRegressor` scale them.

    Parameters
    ----------
    loss : str or Loss
        "squared_error", "absolute_error", "huber_error", or one with options: see `xpnet.fit`.

    hidden_layer_sizes, activation, optimizer, learning_rate_init, weight_decay, batch_size, max_iter, tol, \
n_iter_no_change, early_stopping, validation_fraction, standardize, model, backend, dtype, random_state, \
warm_start, verbose
        As those of `XPClassifier`.

    Attributes
    ----------
    run_, n_iter_, loss_curve_, loss_, best_loss_, validation_scores_, best_validation_score_
        The trained network, and how it was trained.
    n_features_in_, feature_names_in_, image_shape_
        What it was trained on.
    """

    _has_numbers = True

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        loss: str | Loss | None = "squared_error",
        optimizer: str | Optimizer = "adam",
        learning_rate_init: float = 0.001,
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        model: Model = None,
        backend: str | Namespace | None = None,
        dtype: str | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.model = model
        self.backend = backend
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> XPRegressor:
        """Train on these samples once, and return the estimator.

        The optimizer continues from where it was, so that data can arrive in parts. `Standardize` knows the
        first part only, and there is no early stopping. For the parameters see `fit`.
        """
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> Any:
        """Return the predicted numbers, shape (n,), or (n, outputs) if there are several."""
        run, inputs, place = self._using(X, "predict")
        found = run.predict_outputs(inputs)
        return like(found[:, 0] if found.shape[1] == 1 else found, place)

    def _targets(self, y: Any, *, new: Any) -> tuple[np.ndarray, int, None]:
        y = y if y.ndim == 2 and y.shape[1] > 1 else column_or_1d(y, warn=True)
        return y.astype(np.float64), 1 if y.ndim == 1 else y.shape[1], None

    def _prepared(self, data: Dataset, *, relabel: bool) -> Dataset:
        return data

    def _usual_loss(self, targets: np.ndarray, n_out: int | None) -> str:
        return "squared_error"

    def _score_after(self, run: Run, validation: Dataset) -> float:
        loss, truth, weights = run.history[-1].validation_loss, validation.targets, validation.sample_weight
        if run.loss != "squared_error" or truth.shape[1] > 1 or loss is None:
            return run.evaluate(validation).metrics["r2"]
        # The same without another pass, which would take as long as an epoch of a small data set.
        spread = np.average(
            (truth - np.average(truth, weights=weights, axis=0)) ** 2, weights=weights, axis=0
        )
        return float(1 - loss / spread[0]) if spread[0] else 0.0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.array_api_support = True
        return tags
