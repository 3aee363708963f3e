"""The program of the course "Neural Network from Scratch" by Subash Gandyer: plain NumPy, in float64."""

from __future__ import annotations

import numpy as np

from xpnet_bench.competitor import Kind
from xpnet_bench.workload import Layer, Workload


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
        train, test = workload.data()
        self._rule = workload.batch_size, workload.lr, workload.beta
        self._x = np.ascontiguousarray(train.images.T) / 255  # (784, n)
        self._y = np.eye(workload.sizes[-1])[train.labels].T  # (10, n)
        self._test = np.ascontiguousarray(test.images.T) / 255, test.labels
        self._reset(workload)
        self._step(self._x[:, : workload.batch_size], self._y[:, : workload.batch_size])
        self._reset(workload)

    def _reset(self, workload: Workload) -> None:
        layers = [
            (weight.T.astype(float), bias[:, None].astype(float)) for weight, bias in workload.initial()
        ]
        self._weights, self._biases = (list(arrays) for arrays in zip(*layers, strict=True))
        self._weight_velocities = [np.zeros(weight.shape) for weight in self._weights]
        self._bias_velocities = [np.zeros(bias.shape) for bias in self._biases]

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        size = self._rule[0]
        x, y = self._x[:, order], self._y[:, order]
        for begin in range(0, len(order), size):
            self._step(x[:, begin : begin + size], y[:, begin : begin + size])

    def _step(self, x: np.ndarray, y: np.ndarray) -> None:
        _, lr, beta = self._rule
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

    def accuracy(self) -> float:
        """Return the accuracy on the test images."""
        x, labels = self._test
        return float(np.mean(np.argmax(_softmax(self._forward(x)[-1]), axis=0) == labels))

    def parameters(self) -> list[Layer]:
        """Return weight (n_in, n_out) and bias (n_out,) of each layer."""
        pairs = zip(self._weights, self._biases, strict=True)
        return [(weight.T.copy(), bias[:, 0].copy()) for weight, bias in pairs]


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / np.sum(e, axis=0)
