"""The program of the course "Neural Network from Scratch" by Subash Gandyer: plain NumPy, in float64."""

from __future__ import annotations

import numpy as np

import xpnet
from xpnet_bench.competitor import Kind
from xpnet_bench.peers.chain import chain
from xpnet_bench.peers.errors import NoEqualError, lacking
from xpnet_bench.workload import Start, Workload


class Course:
    """The network as its formulas read: each line makes new arrays and computes every sigmoid that it names.

    It differs from the others in its precision, its layout, and the shuffled copy of the whole training set
    that it makes in every epoch. It takes the same steps on the same batches.
    """

    name = "course float64"
    backend = "numpy"
    kind: Kind = "peer"

    def __init__(self) -> None:
        self.versions = {"numpy": np.__version__}

    def prepare(self, workload: Workload) -> None:
        """Load the data as float64 columns, make the parameters, and warm up."""
        start = workload.start()
        self._params = start.params
        with lacking(self.name):
            self._chain = chain(start, {xpnet.Sigmoid: "sigmoid"}, np.float64)
            self._rule = _rule(workload, start)
        n_out = start.params[start.trained[-1]].size
        self._x = np.ascontiguousarray(self._chain.train.T)  # (n_in, n)
        self._y = np.eye(n_out)[start.train.targets].T  # (n_out, n)
        self._test = np.ascontiguousarray(self._chain.test.T)
        size = self._batch_size = workload.batch_size
        self._reset(start)
        self._step(self._x[:, :size], self._y[:, :size])
        self._reset(start)

    def _reset(self, start: Start) -> None:
        names = self._chain.names
        self._weights = [start.params[f"{name}weight"].T.astype(float) for name in names]
        self._biases = [start.params[f"{name}bias"][:, None].astype(float) for name in names]
        self._weight_velocities = [np.zeros(weight.shape) for weight in self._weights]
        self._bias_velocities = [np.zeros(bias.shape) for bias in self._biases]

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        size = self._batch_size
        x, y = self._x[:, order], self._y[:, order]
        for begin in range(0, len(order), size):
            self._step(x[:, begin : begin + size], y[:, begin : begin + size])

    def _step(self, x: np.ndarray, y: np.ndarray) -> None:
        lr, beta = self._rule
        zs = self._forward(x)
        dz = (_softmax(zs[-1]) - y) / x.shape[1]
        for k in reversed(range(len(zs))):
            a = _sigmoid(zs[k - 1]) if k else x
            d_weight, d_bias = dz @ a.T, np.sum(dz, axis=1, keepdims=True)
            if k:
                dz = self._weights[k].T @ dz * _sigmoid(zs[k - 1]) * (1 - _sigmoid(zs[k - 1]))
            self._weight_velocities[k] = beta * self._weight_velocities[k] + (1 - beta) * d_weight
            self._bias_velocities[k] = beta * self._bias_velocities[k] + (1 - beta) * d_bias
            self._weights[k] = self._weights[k] - lr * self._weight_velocities[k]
            self._biases[k] = self._biases[k] - lr * self._bias_velocities[k]

    def _forward(self, x: np.ndarray) -> list[np.ndarray]:
        zs = [self._weights[0] @ x + self._biases[0]]  # (n_out, batch)
        for weight, bias in zip(self._weights[1:], self._biases[1:], strict=True):
            zs.append(weight @ _sigmoid(zs[-1]) + bias)
        return zs

    def outputs(self) -> np.ndarray:
        """Return the outputs for the test set."""
        return self._forward(self._test)[-1].T

    def parameters(self) -> dict[str, np.ndarray]:
        """Return weight (n_in, n_out) and bias (n_out,) of each layer, and the state, by xpnet's names."""
        found = dict(self._params)
        for name, weight, bias in zip(self._chain.names, self._weights, self._biases, strict=True):
            found |= {f"{name}weight": weight.T.copy(), f"{name}bias": bias[:, 0].copy()}
        return found


def _rule(workload: Workload, start: Start) -> tuple[float, float]:
    """Return the rate and the share of the old velocity of momentum as an average; SGD has a share of 0."""
    rule = start.update
    if rule.kind != "sgd" or rule.nesterov or rule.decay:
        raise NoEqualError("it has only gradient descent, with and without momentum")
    if workload.loss != "softmax_cross_entropy" or start.train.targets.ndim != 1:
        raise NoEqualError("it has only softmax with cross-entropy of classes")
    return rule.lr / (1 - rule.momentum), rule.momentum


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / np.sum(e, axis=0)
