"""scikit-learn: `MLPClassifier` or `MLPRegressor`, an epoch at a time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

import xpnet
from xpnet_bench.competitor import Kind
from xpnet_bench.peers.chain import Chain, chain
from xpnet_bench.peers.errors import NoEqualError, lacking
from xpnet_bench.updates import Update
from xpnet_bench.workload import Start, Workload

_ACTIVATIONS = {xpnet.Sigmoid: "logistic", xpnet.ReLU: "relu", xpnet.Tanh: "tanh"}


class Adam(AdamOptimizer):  # type: ignore[misc]
    """Adam whose epsilon is added to the root of the unbiased square, as in the paper.

    scikit-learn adds its `epsilon` before it corrects the bias, so it is given one that comes to the same.
    """

    @property
    def epsilon(self) -> float:
        """The epsilon of this step."""
        return self._eps * math.sqrt(1 - self.beta_2**self.t)

    @epsilon.setter
    def epsilon(self, value: float) -> None:
        self._eps = value


class ScikitLearn:
    """One `partial_fit` an epoch, over a copy of the inputs in our order.

    `partial_fit` splits its arguments into batches of `batch_size`, including the ragged last one, and with
    ``shuffle=False`` in the given order. So each call's checks run once per epoch, as in `fit`, and not once
    per batch; the copy costs what `fit` pays when it gathers its shuffled batches.
    """

    name = "scikit-learn"
    backend = "scikit-learn"
    kind: Kind = "peer"

    def __init__(self) -> None:
        self.versions = {
            "scikit-learn": sklearn.__version__,
            "scipy": scipy.__version__,
            "numpy": np.__version__,
        }

    def prepare(self, workload: Workload) -> None:
        """Load the data as float32, make the parameters, and warm up."""
        start = workload.start()
        self._params = start.params
        with lacking(self.name):
            self._chain = chain(start, _ACTIVATIONS)
            self._rule = _rule(workload, start)
        self._targets = start.train.targets
        self._is_regressor = self._targets.ndim == 2
        kind = MLPRegressor if self._is_regressor else MLPClassifier
        n = len(self._targets)
        hidden = [start.params[f"{name}bias"].size for name in self._chain.names[:-1]]
        options = _options(self._rule, self._chain)
        size = min(workload.batch_size, n)
        self._model = kind(hidden_layer_sizes=hidden, batch_size=size, alpha=0.0, shuffle=False, **options)
        self._rehearse(start)

    def _rehearse(self, start: Start) -> None:
        """Train one epoch, in which scikit-learn draws its own weights, then load the workload's."""
        model, chain = self._model, self._chain
        classes = start.params[f"{chain.names[-1]}bias"].size
        known = {} if self._is_regressor else {"classes": np.arange(classes)}
        model.partial_fit(chain.train, self._labels(slice(None)), **known)
        for name, weight, bias in zip(chain.names, model.coefs_, model.intercepts_, strict=True):
            weight[...], bias[...] = start.params[f"{name}weight"], start.params[f"{name}bias"]
        rule, params = self._rule, model.coefs_ + model.intercepts_
        if rule.kind == "adam":
            model._optimizer = Adam(params, rule.lr, rule.beta1, rule.beta2, rule.eps)
        else:
            model._optimizer = SGDOptimizer(params, rule.lr, "constant", rule.momentum, rule.nesterov)

    def _labels(self, order: Any) -> np.ndarray:
        found = self._targets[order]
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._model.partial_fit(self._chain.train[order], self._labels(order))

    def outputs(self) -> np.ndarray:
        """Return the outputs for the test set; of classes, logarithms of probabilities instead of logits."""
        if self._is_regressor:
            return np.asarray(self._model.predict(self._chain.test)).reshape(len(self._chain.test), -1)
        return np.asarray(self._model.predict_log_proba(self._chain.test))

    def parameters(self) -> dict[str, np.ndarray]:
        """Return copies of weight and bias of each layer, and the state, by xpnet's names."""
        found = dict(self._params)
        for name, weight, bias in zip(
            self._chain.names, self._model.coefs_, self._model.intercepts_, strict=True
        ):
            found |= {f"{name}weight": weight.copy(), f"{name}bias": bias.copy()}
        return found


def _rule(workload: Workload, start: Start) -> Update:
    """Return the rule for the gradients that scikit-learn has, or raise if it has none."""
    rule, targets = start.update, start.train.targets
    if rule.kind == "rmsprop":
        raise NoEqualError("it has no RMSprop")
    if rule.decay:
        raise NoEqualError("it has no decoupled weight decay")
    n_out = start.params[start.trained[-1]].size
    if workload.loss == "softmax_cross_entropy" and targets.ndim == 1:
        if n_out == 2:
            raise NoEqualError("with two classes its network has one output")
        return rule
    if workload.loss != "squared_error":
        raise NoEqualError(f"it has no {workload.loss} for these targets")
    # Its squared error is half of that, and a sum over outputs.
    scale = n_out / 2
    if rule.kind == "adam":
        return dataclasses.replace(rule, eps=rule.eps * scale)
    return dataclasses.replace(rule, lr=rule.lr / scale)


def _options(rule: Update, chain: Chain) -> dict[str, Any]:
    options: dict[str, Any] = {"activation": chain.activation or "identity", "learning_rate_init": rule.lr}
    if rule.kind == "adam":
        return options | {"solver": "adam"}
    return options | {"solver": "sgd", "momentum": rule.momentum, "nesterovs_momentum": rule.nesterov}
