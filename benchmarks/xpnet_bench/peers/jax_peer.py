"""JAX: an epoch is one compiled call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet_bench.competitor import Kind
from xpnet_bench.workload import TEST_BATCH, Layer, Workload

Array = Any
# The logits of images, given parameters.
Network = Callable[[Array, Array], Array]

# By default JAX rounds float32 factors to TF32 on a GPU; the others do not.
_PRECISION = jax.lax.Precision.HIGHEST


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
        self._logits = _lenet5 if workload.network == "cnn" else _logits
        rule: dict[str, Any] = {"batch_size": workload.batch_size, "lr": workload.lr, "beta": workload.beta}
        self._epoch = jax.jit(partial(_epoch, self._logits, **rule), donate_argnums=0)
        self._state = _initial_state(workload)
        self.epoch(np.arange(len(train), dtype=np.int32))
        self._state = _initial_state(workload)

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._state = jax.block_until_ready(self._epoch(self._state, *self._train, order))

    def accuracy(self) -> float:
        """Return the accuracy on the test images."""
        images, labels = self._test
        parts = [images[begin : begin + TEST_BATCH] for begin in range(0, len(images), TEST_BATCH)]
        found = jnp.concatenate([jnp.argmax(self._logits(self._state[0], x), axis=1) for x in parts])
        return float(jnp.mean(found == labels))

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
    network: Network,
    state: Array,
    images: Array,
    labels: Array,
    order: Array,
    *,
    batch_size: int,
    lr: float,
    beta: float,
) -> Array:
    def step(state: Array, indices: Array) -> tuple[Array, None]:
        params, velocities = state
        # The order is a permutation, so the bounds checks that indexing would compile in are not needed.
        x, y = (data.at[indices].get(mode="promise_in_bounds") for data in (images, labels))
        grads = jax.grad(partial(_loss, network))(params, x, y)
        velocities = jax.tree.map(lambda v, g: beta * v + (1 - beta) * g, velocities, grads)
        return (jax.tree.map(lambda p, v: p - lr * v, params, velocities), velocities), None

    full = len(order) // batch_size * batch_size
    state, _ = jax.lax.scan(step, state, order[:full].reshape(-1, batch_size))
    return step(state, order[full:])[0] if full < len(order) else state


def _loss(network: Network, params: Array, images: Array, labels: Array) -> Array:
    log_p = jax.nn.log_softmax(network(params, images))
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def _logits(params: Array, images: Array) -> Array:
    x = images.astype(jnp.float32) / 255
    for weight, bias in params[:-1]:
        x = jax.nn.sigmoid(_linear(x, weight, bias))
    return _linear(x, *params[-1])


def _lenet5(params: Array, images: Array) -> Array:
    x = images.reshape(-1, 28, 28, 1).astype(jnp.float32) / 255
    for (weight, bias), padding in zip(params[:2], ("SAME", "VALID"), strict=True):
        axes = "NHWC", "HWIO", "NHWC"
        y = jax.lax.conv_general_dilated(
            x, weight, (1, 1), padding, dimension_numbers=axes, precision=_PRECISION
        )
        x = _max_pool(jax.nn.relu(y + bias))
    x = x.reshape(len(x), -1)
    for weight, bias in params[2:-1]:
        x = jax.nn.relu(_linear(x, weight, bias))
    return _linear(x, *params[-1])


def _linear(x: Array, weight: Array, bias: Array) -> Array:
    return jnp.matmul(x, weight, precision=_PRECISION) + bias


def _max_pool(x: Array) -> Array:
    window = 1, 2, 2, 1
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
