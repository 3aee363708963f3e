"""JAX: an epoch is one compiled call."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet_bench.competitor import Kind
from xpnet_bench.workload import Layer, Workload

Array = Any


class JaxScan:
    """`lax.scan` over the full batches and one more step for the remainder, in one `jit`."""

    name = "JAX scan"
    backend = "jax"
    kind: Kind = "peer"

    def __init__(self) -> None:
        self.versions = {"jax": jax.__version__, "jaxlib": jax.lib.__version__}
        self.device = device_name()

    def prepare(self, workload: Workload) -> None:
        """Load the data, make the parameters, compile, and warm up with one epoch."""
        train, test = workload.data()
        self._train = jax.device_put((train.images, train.labels.astype(np.int32)))
        self._test = jax.device_put((test.images, test.labels))
        rule: dict[str, Any] = {"batch_size": workload.batch_size, "lr": workload.lr, "beta": workload.beta}
        self._epoch = jax.jit(partial(_epoch, **rule), donate_argnums=0)
        self._state = _initial_state(workload)
        self.epoch(np.arange(len(train), dtype=np.int32))
        self._state = _initial_state(workload)

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._state = jax.block_until_ready(self._epoch(self._state, *self._train, order))

    def accuracy(self) -> float:
        """Return the accuracy on the test images."""
        images, labels = self._test
        return float(jnp.mean(jnp.argmax(_logits(self._state[0], images), axis=1) == labels))

    def parameters(self) -> list[Layer]:
        """Return weight and bias of each layer as NumPy arrays."""
        return [(np.array(weight), np.array(bias)) for weight, bias in self._state[0]]


def device_name() -> str:
    """Return ``"cpu"``, or the model of the GPU that JAX works on."""
    first = jax.devices()[0]
    return "cpu" if first.platform == "cpu" else str(first.device_kind)


def _initial_state(workload: Workload) -> Array:
    params = jax.device_put(workload.initial())
    return params, jax.tree.map(jnp.zeros_like, params)


def _epoch(
    state: Array, images: Array, labels: Array, order: Array, *, batch_size: int, lr: float, beta: float
) -> Array:
    def step(state: Array, indices: Array) -> tuple[Array, None]:
        params, velocities = state
        # The order is a permutation, so the bounds checks that indexing would compile in are not needed.
        x, y = (data.at[indices].get(mode="promise_in_bounds") for data in (images, labels))
        grads = jax.grad(_loss)(params, x, y)
        velocities = jax.tree.map(lambda v, g: beta * v + (1 - beta) * g, velocities, grads)
        return (jax.tree.map(lambda p, v: p - lr * v, params, velocities), velocities), None

    full = len(order) // batch_size * batch_size
    state, _ = jax.lax.scan(step, state, order[:full].reshape(-1, batch_size))
    return step(state, order[full:])[0] if full < len(order) else state


def _loss(params: Array, images: Array, labels: Array) -> Array:
    log_p = jax.nn.log_softmax(_logits(params, images))
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def _logits(params: Array, images: Array) -> Array:
    # By default JAX rounds float32 factors to TF32 on a GPU; the others do not.
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    *hidden, (weight, bias) = params
    x = images.astype(jnp.float32) / 255
    for w, b in hidden:
        x = jax.nn.sigmoid(product(x, w) + b)
    return product(x, weight) + bias
