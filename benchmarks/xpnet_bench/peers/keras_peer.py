"""Keras on JAX: `compile` and `fit`, as its users call them."""

from __future__ import annotations

import os
from typing import Any

# Keras reads it once, when it is imported, and defaults to TensorFlow.
os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from xpnet_bench.competitor import Kind
from xpnet_bench.peers.errors import PeerUnavailableError, lacking
from xpnet_bench.peers.jax_peer import device_name
from xpnet_bench.peers.keras_layers import LOSSES, built, optimizer
from xpnet_bench.workload import TEST_BATCH, Workload, scaled


class KerasOnJax:
    """One `fit` of one epoch over a copy of the inputs in our order.

    `fit` takes arrays on the host and cuts its batches from them. Its users pay for reordering and moving
    the inputs in every epoch, so that is timed.
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
        start = workload.start()
        shape = start.train.inputs.shape[1:]
        self._inputs, self._targets = scaled(start.train.inputs), start.train.targets
        self._test = scaled(start.test.inputs)
        self._batch_size, self._params = workload.batch_size, start.params
        self._own: list[tuple[Any, list[str]]] = []
        with lacking(self.name):
            x = keras.Input(shape)
            outputs = built(start.trunk, x, shape, self._own, start.params)
            self._model = keras.Model(x, outputs)
            sparse = self._targets.ndim == 1
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self._model.compile(optimizer(start.update), loss if sparse else LOSSES[workload.loss]())
        self.epoch(np.arange(len(self._inputs)))
        self._reset()

    def _reset(self) -> None:
        for layer, names in self._own:
            layer.set_weights([self._params[name] for name in names])
        for variable in self._model.optimizer.variables:
            if variable is not self._model.optimizer.learning_rate:
                variable.assign(keras.ops.zeros(variable.shape, variable.dtype))

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._model.fit(
            self._inputs[order],
            self._targets[order],
            batch_size=self._batch_size,
            epochs=1,
            shuffle=False,
            verbose=0,
        )
        jax.block_until_ready([variable.value for variable in self._model.variables])

    def outputs(self) -> np.ndarray:
        """Return the outputs for the test set."""
        return np.asarray(self._model.predict(self._test, batch_size=TEST_BATCH, verbose=0))

    def parameters(self) -> dict[str, np.ndarray]:
        """Return parameters and state by xpnet's names; the state does not change."""
        found = dict(self._params)
        for layer, names in self._own:
            # Not `get_weights`, at whose old protocol NumPy warns.
            found |= {name: np.array(p.value) for name, p in zip(names, layer.weights, strict=True)}
        return found
