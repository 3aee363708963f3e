"""What the estimators share: data in, a trained `Run`, and its outputs."""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

import xpnet
from xpnet.adapting import adapted_params
from xpnet.batches import Scaling
from xpnet.checks import count
from xpnet.datasets import Dataset
from xpnet.datasets.targets import checked_weights
from xpnet.inputs import Inputs
from xpnet.layer import Params
from xpnet.losses import find_loss
from xpnet.online import Online
from xpnet.problem import Problem, images_for
from xpnet.run import Run, new_run
from xpnet.sklearn import choices
from xpnet.sklearn.arrays import flattened, library, on_host, place
from xpnet.sklearn.holding_out import held_out


class Network(BaseEstimator, abc.ABC):
    """Base of the estimators; their parameters are those of their own classes.

    Attributes
    ----------
    run_ : xpnet.Run
        The trained network with its history; ``run_.save(path)`` writes it to a file.
    n_features_in_ : int
        The number of features, or of the pixels of an image with its channels.
    feature_names_in_ : array, shape (n_features_in_,)
        The names of the columns, if training was on a data frame.
    image_shape_ : tuple of int or None
        The shape of an image; None if rows of features were trained on.
    validation_scores_ : list of float or None
        The accuracy, or R^2, on the part that was held out, after each epoch; None without early stopping.
    """

    @abc.abstractmethod
    def _targets(self, y: Any, *, new: Any) -> tuple[np.ndarray, int, tuple[str, ...] | None]:
        """Return targets as a data set has them, how many outputs they need, and the names of classes.

        `new` is `y` as it was passed if the classes are to be those that it has, else None.
        """

    @abc.abstractmethod
    def _prepared(self, data: Dataset, *, relabel: bool) -> Dataset:
        """Return a training set with the weights of its classes.

        `relabel` says whether these are all classes, so that one class alone is refused.
        """

    @abc.abstractmethod
    def _usual_loss(self, targets: np.ndarray, n_out: int | None) -> str:
        """Return the loss that is used if none was passed, given the number of outputs of the model."""

    @abc.abstractmethod
    def _score_after(self, run: Run, validation: Dataset) -> float:
        """Return the score on the part that was held out, after an epoch."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the network, and return the estimator.

        Parameters
        ----------
        X : array or data frame, shape (n, features), (n, height, width) or (n, height, width, channels)
            Images of dtype uint8 are pixels, which enter the network as numbers from 0 to 1.
        y : array, shape (n,) or (n, outputs)
        sample_weight : array, shape (n,), optional
            How much each sample counts. One of weight 0 is left out.

        Raises
        ------
        ValueError, TypeError
            If data or a parameter is wrong, or they do not fit each other.
        """
        first = not (choices.flag(self, "warm_start") and hasattr(self, "run_"))
        seed, stop = choices.found_seed(self.random_state), choices.found_stopping(self)
        data, n_out = self._data(X, y, sample_weight, first=first, relabel=first)
        data, validation = self._divided(data, seed)
        xp, problem, params = self._begun(data, n_out, seed) if first else self._again()
        scores: list[float] = []
        callbacks: list[Any] = [stop]
        if validation is not None:
            callbacks += [lambda run: scores.append(self._score_after(run, validation)), xpnet.KeepBest()]
        run = xpnet.fit(
            xp,
            problem.model,
            data,
            optimizer=choices.found_optimizer(self),
            epochs=count("max_iter", self.max_iter),
            batch_size=choices.found_batch_size(self),
            validation=validation,
            loss=problem.loss,
            seed=seed,
            dtype=problem.dtype,
            params=params,
            callbacks=callbacks,
            progress=None if choices.flag(self, "verbose") else False,
        )
        self.run_, self._problem, self.validation_scores_ = run, problem, scores or None
        self._online: Online | None = None
        if not stop.stopped:
            warnings.warn(
                f"the training took all {self.max_iter} epochs of `max_iter` before the loss had stopped "
                "falling by `tol` for `n_iter_no_change` epochs; raise `max_iter`, or `tol` if that is good "
                "enough",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @property
    def n_iter_(self) -> int:
        """The number of epochs."""
        return len(self.run_.history)

    @property
    def loss_curve_(self) -> list[float]:
        """The mean training loss of each epoch."""
        return [epoch.train_loss for epoch in self.run_.history]

    @property
    def loss_(self) -> float:
        """The mean training loss of the last epoch."""
        return self.loss_curve_[-1]

    @property
    def best_loss_(self) -> float | None:
        """The least mean training loss; None with early stopping, which looks at other data."""
        return min(self.loss_curve_) if self.validation_scores_ is None else None

    @property
    def best_validation_score_(self) -> float | None:
        """The highest of `validation_scores_`; None without early stopping."""
        return None if self.validation_scores_ is None else max(self.validation_scores_)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Take one pass over the data, from where the last one ended, and return the estimator."""
        run: Run | None = getattr(self, "run_", None)
        online = getattr(self, "_online", None)
        data, n_out = self._data(X, y, sample_weight, first=run is None, relabel=False)
        if run is None or online is None or online.run is not run:
            seed = choices.found_seed(self.random_state)
            xp, problem, params = self._begun(data, n_out, seed) if run is None else self._again()
            begun = (
                new_run(xp, problem, data, choices.found_optimizer(self)) if run is None else copy.copy(run)
            )
            begun.params = params
            online = Online(begun, problem, batch_size=choices.found_batch_size(self), seed=seed)
            self._problem, self.validation_scores_ = problem, None
        self.run_, self._online = online(data), online
        return self

    def _data(self, X: Any, y: Any, sample_weight: Any, *, first: bool, relabel: bool) -> tuple[Dataset, int]:
        """Return a training set, and how many outputs its targets need.

        `first` says whether this is the first data, and `relabel` whether classes are those of `y`.
        """
        given = y if relabel else None
        rows, y, shape = self._checked(X, on_host(y), reset=first)
        if first:
            self.image_shape_, self._place = shape, place(rows)
        targets, n_out, names = self._targets(y, new=given)
        inputs = self._as_trained(on_host(rows), shape)
        data = Dataset(inputs, targets, classes=names)
        if not first and self.image_shape_ is not None and self.run_.inputs is not None:
            self.run_.inputs.check("X", Inputs.of(data, self.run_.scaling))
        if sample_weight is not None:
            weights = checked_weights(_some(on_host(sample_weight)), len(data))
            data = data.weighted(weights).select(weights > 0)
        return self._prepared(data, relabel=relabel), n_out

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any, tuple[int, ...] | None]:
        """Return rows of numbers, y as an array, and the shape of an image if there are images."""
        shape = tuple(getattr(X, "shape", ()))
        images = len(shape) in (3, 4)
        pixels = images or (not reset and self.image_shape_ is not None)
        names = "float64", "float32", *(("uint8",) if pixels else ())
        dtypes = [getattr(library(X), name) for name in names]
        X = flattened(X) if images else X
        if y is _NONE:
            return validate_data(self, X, dtype=dtypes, reset=reset), None, shape[1:] if images else None
        how: dict[str, Any] = {"dtype": dtypes, "multi_output": True, "y_numeric": self._has_numbers}
        rows, y = validate_data(self, X, y, reset=reset, **how)
        return rows, y, shape[1:] if images else None

    def _as_trained(self, rows: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
        """Return inputs in the shape in which the training had them."""
        known = self.image_shape_
        if known is None and shape is not None:
            raise ValueError(
                "`X` has images, but the network was trained on rows of features; pass rows, as in training"
            )
        if known is None:
            return rows
        if shape is not None and shape != known:
            raise ValueError(f"`X` has images of shape {shape}, but the network is trained on {known}")
        return rows.reshape(len(rows), *known)

    def _divided(self, data: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
        if not choices.flag(self, "early_stopping"):
            return data, None
        return held_out(data, self.validation_fraction, seed=seed)

    def _begun(self, data: Dataset, n_out: int, seed: int) -> tuple[xpnet.Namespace, Problem, Params]:
        """Return what a training begins with."""
        xp = choices.found_backend(self.backend)
        n_in, is_rows = math.prod(data.inputs.shape[1:]), self.image_shape_ is None
        model = choices.found_model(self, n_in, n_out, is_rows=is_rows)
        loss = find_loss(self._usual_loss(data.targets, model.n_out) if self.loss is None else self.loss)
        dtype, scaling = choices.found_dtype(self.dtype, data.inputs), Scaling()
        problem = Problem(model, loss, scaling, dtype, loss.task(data.targets))
        params = model.init(xp, seed, dtype=dtype)
        if self.model is None and isinstance(model.layers[0], xpnet.Standardize):
            # Not by `adapt`, which knows no weights.
            found = StandardScaler().fit(data.inputs, sample_weight=data.sample_weight)
            moments = {"0.mean": found.mean_, "0.deviation": found.scale_}
            return xp, problem, params | {name: xp.asarray(x.astype(dtype)) for name, x in moments.items()}
        if model.n_in == n_in or model.takes_images:
            params = adapted_params(xp, model, params, images_for(model, data), scaling)
        return xp, problem, params

    def _again(self) -> tuple[xpnet.Namespace, Problem, Params]:
        """Return what a training begins with that goes on with the parameters of the last one."""
        return self.run_.xp, self._problem, self.run_.params

    def _using(self, X: Any, method: str) -> tuple[Run, np.ndarray, Any]:
        """Return the run to predict with, its inputs on the host, and as what the results go back."""
        check_is_fitted(self, "run_")
        rows, _, shape = self._checked(X, _NONE, reset=False)
        found = place(rows)
        if found != self._place:
            raise ValueError(
                f"the inputs of {type(self).__name__}.{method}() must use the same namespace and the same "
                f"device as those of fit(), {' on '.join(self._place)}, but are {' on '.join(found)}"
            )
        # Numbers far away from those of training are predicted, as by other estimators; pixels are compared.
        inputs = None if self.image_shape_ is None else self.run_.inputs
        run = dataclasses.replace(self.run_, inputs=inputs, predicts_names=False)
        return run, self._as_trained(on_host(rows), shape), rows


_NONE: Any = object()


def _some(weights: Any) -> Any:
    """Return weights, or raise if all are 0."""
    if not np.any(np.asarray(weights)):
        raise ValueError("`sample_weight` is zero for every sample, so there is nothing to learn; raise some")
    return weights
