"""The estimator of classes and labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from xpnet.checks import nonnegative
from xpnet.datasets import Dataset
from xpnet.loss import CLASSES, LABELS, Loss
from xpnet.losses import SigmoidCrossEntropy, find_loss
from xpnet.namespace import Namespace
from xpnet.optim import Optimizer
from xpnet.run import Run
from xpnet.sklearn.arrays import like, on_host
from xpnet.sklearn.choices import Model
from xpnet.sklearn.network import Network


class XPClassifier(ClassifierMixin, Network):
    """A neural network as a scikit-learn classifier, of classes or of several labels at once.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int
        The numbers of hidden units; () for none.
    activation : str
        After each hidden layer: an activation of `xpnet.nn` by its name. "logistic" is "sigmoid", and
        "identity" is none.
    optimizer : str or optimizer
        By its name in `xpnet.optim.OPTIMIZERS`, or an optimizer such as ``xpnet.AdamW(schedule)``.
    learning_rate_init : float
        The learning rate of an optimizer that is named; another one has its own.
    weight_decay : float, optional
        The decoupled weight decay of an optimizer that is named. If omitted, its usual one.
    batch_size : int or "auto"
        "auto" is 200.
    max_iter : int
        The largest number of epochs.
    tol : float
    n_iter_no_change : int
        Training ends when the loss has not become less by `tol` in so many epochs.
    early_stopping : bool
        Whether a part of the data is held out, whose loss decides when to end, and the parameters of the best
        epoch are kept. Else the training loss decides.
    validation_fraction : float
        The share of that part. Samples with equal inputs stay together.
    class_weight : dict or "balanced", optional
        How much each class counts, by its label; others count 1. "balanced" gives each class the same total
        weight.
    standardize : bool
        Whether the network begins with `Standardize`, adapted to the rows of features that it is trained on.
        Images are not standardised.
    loss : str or Loss, optional
        See `xpnet.fit`. If omitted, the cross-entropy of classes, or of several labels.
    model : Sequential or callable, optional
        The network, or a function of ``(n_in, n_out)``, the numbers of features and outputs, that returns it.
        `hidden_layer_sizes`, `activation` and `standardize` then do not count.
    backend : str or Namespace, optional
        See `xpnet.backend`. If omitted, the environment variable ``XPNET_BACKEND``, or NumPy.
    dtype : {"float32", "float64"}, optional
        Of all arithmetic. If omitted, that of the rows of features, and float32 for pixels.
    random_state : int, RandomState or None
        An int is the seed, as in `xpnet.fit`: the same results each time.
    warm_start : bool
        Whether `fit` begins with the parameters of the last one: it then keeps that network with its loss,
        backend and dtype, so that `model`, `hidden_layer_sizes`, `activation`, `standardize`, `loss`,
        `backend` and `dtype` do not count.
    verbose : bool
        Whether to show the progress.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
        The labels, sorted.
    run_, n_iter_, loss_curve_, loss_, best_loss_, validation_scores_, best_validation_score_
        The trained network, and how it was trained.
    n_features_in_, feature_names_in_, image_shape_
        What it was trained on.
    """

    _has_numbers = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        optimizer: str | Optimizer = "adam",
        learning_rate_init: float = 0.001,
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        class_weight: Any = None,
        standardize: bool = True,
        loss: str | Loss | None = None,
        model: Model = None,
        backend: str | Namespace | None = None,
        dtype: str | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.standardize = standardize
        self.loss = loss
        self.model = model
        self.backend = backend
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> XPClassifier:
        """Train on these samples once, and return the estimator.

        The optimizer continues from where it was, so that data can arrive in parts. `Standardize` knows the
        first part only. There is no early stopping; "balanced" weights are those of the classes of this part.

        Parameters
        ----------
        X, y, sample_weight : see `fit`
        classes : array, shape (n_classes,)
            All labels; needed in the first call, unless `fit` was called before.
        """
        if not hasattr(self, "classes_"):
            if classes is None:
                raise ValueError("classes must be passed in the first call to partial_fit: all labels of y")
            self.classes_ = unique_labels(classes)
        elif classes is not None and not np.array_equal(
            on_host(self.classes_), unique_labels(on_host(classes))
        ):
            raise ValueError(f"classes is {classes!r}, but was {self.classes_!r} before; pass the same ones")
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> Any:
        """Return the label of each sample, shape (n,), or whether each of several labels applies."""
        run, inputs, place = self._using(X, "predict")
        found = run.predict(inputs)
        return like(on_host(self.classes_)[found] if run.task == CLASSES else found, place)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, in the order of `classes_`, or of each of several labels.

        Raises
        ------
        ValueError
            If the outputs are not probabilities, because of the loss.
        """
        run, inputs, place = self._using(X, "predict_proba")
        return like(_probabilities(run, inputs), place)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the natural logarithms of the probabilities, see `predict_proba`."""
        run, inputs, place = self._using(X, "predict_log_proba")
        with np.errstate(divide="ignore"):  # of a probability that underflows to 0
            return like(np.log(_probabilities(run, inputs)), place)

    def _targets(self, y: Any, *, new: Any) -> tuple[np.ndarray, int, tuple[str, ...] | None]:
        y = y.toarray() if issparse(y) else y
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multilabel-indicator":
            self._check_loss_of_labels()
            if new is not None:
                self.classes_ = like(np.arange(y.shape[1]), new)
            return y.astype(np.float64), y.shape[1], None
        if kind == "multiclass-multioutput":
            raise ValueError(
                "`y` has several columns of classes; pass one column, or several labels as columns of 0 and 1"
            )
        y = column_or_1d(y, warn=True)
        if new is not None:
            self.classes_ = like(np.unique(y), new)
        encoder = LabelEncoder()
        encoder.classes_ = on_host(self.classes_)
        indices, names = encoder.transform(y), tuple(map(str, encoder.classes_))
        if new is not None and len(names) == 1:
            raise ValueError(f"`y` has only one class, {names[0]!r}; pass samples of at least two classes")
        n_out = 1 if len(names) == 2 and _is_sigmoid(self.loss) else len(names)
        # As names, so that the run gives names too.
        return np.array(names)[indices] if encoder.classes_.dtype.kind in "UO" else indices, n_out, names

    def _check_loss_of_labels(self) -> None:
        """Raise if the loss is not one of several labels."""
        loss = SigmoidCrossEntropy() if self.loss is None else find_loss(self.loss)
        if loss.numbers_are != LABELS:
            raise ValueError(
                f"`y` has several labels of a sample, but loss {loss.name!r} is one of {loss.numbers_are}; "
                'pass loss="sigmoid_cross_entropy"'
            )

    def _prepared(self, data: Dataset, *, relabel: bool) -> Dataset:
        if relabel and data.has_labels and len(np.unique(data.targets)) == 1:
            raise ValueError(
                "only one class of `y` has a weight above 0; give weight to at least two classes"
            )
        _check_class_weight(self.class_weight)
        if self.class_weight is None:
            return data
        own = np.ones(len(data)) if data.sample_weight is None else data.sample_weight
        if data.has_labels and isinstance(self.class_weight, str) and self.class_weight == "balanced":
            # Not scikit-learn's, which does not count the weights of samples.
            totals = np.bincount(data.targets, weights=own)[data.targets]
            return data.weighted(own * own.sum() / (len(np.unique(data.targets)) * totals))
        if data.has_labels and isinstance(self.class_weight, dict):
            return data.weighted(own * self._weights_of_classes(self.class_weight)[data.targets])
        return data.weighted(own * compute_sample_weight(self.class_weight, data.targets))

    def _weights_of_classes(self, given: dict[Any, Any]) -> np.ndarray:
        """Return the weight of each class; not by scikit-learn, because a part may lack some of them."""
        labels = on_host(self.classes_).tolist()
        for key in given:
            if key not in labels:
                raise ValueError(f"`class_weight` has {key!r}, which is none of the classes {labels}")
        return np.array([nonnegative("class_weight", given.get(label, 1)) for label in labels])

    def _usual_loss(self, targets: np.ndarray, n_out: int | None) -> str:
        return "sigmoid_cross_entropy" if targets.ndim == 2 or n_out == 1 else "softmax_cross_entropy"

    def _score_after(self, run: Run, validation: Dataset) -> float:
        last: Any = run.history[-1]
        return last.validation_accuracy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.array_api_support = True
        return tags


def _is_sigmoid(loss: Any) -> bool:
    return loss is not None and isinstance(find_loss(loss), SigmoidCrossEntropy)


def _probabilities(run: Run, inputs: np.ndarray) -> np.ndarray:
    if run.task != CLASSES or not _is_sigmoid(run.loss):
        return run.predict_proba(inputs)
    z = dataclasses.replace(run, model=find_loss(run.loss).trunk(run.model)).predict_outputs(inputs)
    z = np.concatenate([-z, z], axis=1) if z.shape[1] == 1 else z
    # Each class against all others, in proportion. By logarithms, because all sigmoids may underflow to 0.
    logs = -np.logaddexp(0, -z)
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def _check_class_weight(found: Any) -> None:
    if not (
        found is None or isinstance(found, dict | list) or (isinstance(found, str) and found == "balanced")
    ):
        raise ValueError(f'`class_weight` must be None, "balanced" or a dict by label, got {found!r}')
