"""scikit-learn: `MLPClassifier`, an epoch at a time."""

from __future__ import annotations

import numpy as np
import scipy
import sklearn
from sklearn.neural_network import MLPClassifier

from xpnet_bench.competitor import Kind
from xpnet_bench.workload import Layer, Workload


class ScikitLearn:
    """One `partial_fit` an epoch, over a copy of the images in our order.

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
        train, test = workload.data()
        self._images, self._labels = _scaled(train.images), train.labels
        self._test = _scaled(test.images), test.labels
        self._model = MLPClassifier(
            workload.sizes[1:-1],
            activation="logistic",
            solver="sgd",
            alpha=0.0,
            batch_size=min(workload.batch_size, len(train)),
            # Its velocity is a sum of gradients, not their average.
            learning_rate_init=workload.lr * (1 - workload.beta),
            momentum=workload.beta,
            nesterovs_momentum=False,
            shuffle=False,
        )
        self._rehearse(workload)

    def _rehearse(self, workload: Workload) -> None:
        """Train one epoch, in which scikit-learn draws its own weights, then load the workload's."""
        model, n_classes = self._model, workload.sizes[-1]
        model.partial_fit(self._images, self._labels, classes=np.arange(n_classes))
        for own, array in zip(
            [*zip(model.coefs_, model.intercepts_, strict=True)], workload.initial(), strict=True
        ):
            own[0][...], own[1][...] = array
        for velocity in model._optimizer.velocities:
            velocity[...] = 0.0

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._model.partial_fit(self._images[order], self._labels[order])

    def accuracy(self) -> float:
        """Return the accuracy on the test images."""
        return float(self._model.score(*self._test))

    def parameters(self) -> list[Layer]:
        """Return copies of weight and bias of each layer."""
        pairs = zip(self._model.coefs_, self._model.intercepts_, strict=True)
        return [(weight.copy(), bias.copy()) for weight, bias in pairs]


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)
