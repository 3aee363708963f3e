"""Keras on JAX: `compile` and `fit`, as its users call them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

# Keras reads it once, when it is imported, and defaults to TensorFlow.
os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from xpnet_bench.competitor import Kind
from xpnet_bench.peers.errors import PeerUnavailableError
from xpnet_bench.peers.jax_peer import device_name
from xpnet_bench.workload import Layer, Workload


class KerasOnJax:
    """One `fit` of one epoch over a copy of the images in our order.

    `fit` takes arrays on the host and cuts its batches from them. Its users pay for reordering and moving
    the images in every epoch, so that is timed.
    """

    name = "Keras on JAX"
    backend = "keras"
    kind: Kind = "peer"

    def __init__(self) -> None:
        if keras.backend.backend() != "jax":
            cause = f"Keras was imported before, with the backend {keras.backend.backend()!r}"
            raise PeerUnavailableError(self.name, cause, "use it in its own process")
        self.versions = {"keras": keras.__version__, "jax": jax.__version__}
        self.device = device_name()

    def prepare(self, workload: Workload) -> None:
        """Load the data as float32, make the parameters, compile, and warm up."""
        # By default JAX rounds float32 factors to TF32 on a GPU; the others do not.
        jax.config.update("jax_default_matmul_precision", "highest")
        train, test = workload.data()
        self._model = _lenet5() if workload.network == "cnn" else _mlp(workload.sizes)
        shape = self._model.input_shape
        self._images, self._labels = _scaled(train.images, shape), train.labels.astype(np.int32)
        self._test = _scaled(test.images, shape), test.labels
        self._batch_size = workload.batch_size
        self._model.compile(
            # Its velocity is a sum of updates, not an average.
            keras.optimizers.SGD(workload.lr * (1 - workload.beta), momentum=workload.beta),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self.epoch(np.arange(len(train)))
        self._model.set_weights([array for layer in workload.initial() for array in layer])
        for variable in self._model.optimizer.variables:
            if variable is not self._model.optimizer.learning_rate:
                variable.assign(keras.ops.zeros(variable.shape, variable.dtype))

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._model.fit(
            self._images[order],
            self._labels[order],
            batch_size=self._batch_size,
            epochs=1,
            shuffle=False,
            verbose=0,
        )
        jax.block_until_ready([variable.value for variable in self._model.variables])

    def accuracy(self) -> float:
        """Return the accuracy on the test images."""
        images, labels = self._test
        logits = self._model.predict(images, batch_size=1000, verbose=0)
        return float(np.mean(logits.argmax(axis=1) == labels))

    def parameters(self) -> list[Layer]:
        """Return weight and bias of each layer as NumPy arrays."""
        arrays = [np.array(variable.value) for variable in self._model.weights]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


def _mlp(sizes: Sequence[int]) -> Any:
    n_in, *hidden, n_classes = sizes
    layers = [keras.layers.Dense(n, activation="sigmoid") for n in hidden]
    return keras.Sequential([keras.Input((n_in,)), *layers, keras.layers.Dense(n_classes)])


def _lenet5() -> Any:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(6, 5, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(16, 5, padding="valid", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(120, activation="relu"),
            keras.layers.Dense(84, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def _scaled(images: np.ndarray, shape: Sequence[int | None]) -> np.ndarray:
    """Return images as float32 from 0 to 1, in the shape of a model's input."""
    return (images.astype(np.float32) / np.float32(255)).reshape(len(images), *shape[1:])
