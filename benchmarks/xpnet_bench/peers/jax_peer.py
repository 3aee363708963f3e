"""JAX: an epoch is one compiled call."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xpnet_bench.competitor import Kind
from xpnet_bench.networks import layers_of
from xpnet_bench.peers.errors import lacking
from xpnet_bench.peers.jax_layers import LOSSES, TABLE
from xpnet_bench.peers.rules import updated
from xpnet_bench.peers.translation import Call, translated
from xpnet_bench.updates import Update
from xpnet_bench.workload import TEST_BATCH, Start, Workload

Array = Any


class State(NamedTuple):
    """What a step changes; `number` counts the steps where the rule or a layer needs it, else it is None."""

    trained: dict[str, Array]
    layers: dict[str, Array]
    optimizer: dict[str, tuple[Array, ...]]
    number: Array | None


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
        start = workload.start()
        with lacking(self.name):
            self._call = translated(TABLE, start.trunk, start.train.inputs.shape[1:])
        self._train = jax.device_put(tuple(start.train))
        self._test = jax.device_put(start.test.inputs)
        loss = partial(_loss, self._call, LOSSES[workload.loss])
        run = partial(_epoch, loss, start.update, batch_size=workload.batch_size)
        self._epoch = jax.jit(run, donate_argnums=0)
        self._state = _initial_state(start)
        self.epoch(np.arange(len(start.train.inputs), dtype=np.int32))
        self._state = _initial_state(start)

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._state = jax.block_until_ready(self._epoch(self._state, *self._train, order))

    def outputs(self) -> np.ndarray:
        """Return the outputs for the test set."""
        params = {**self._state.trained, **self._state.layers}
        parts = (self._test[begin : begin + TEST_BATCH] for begin in range(0, len(self._test), TEST_BATCH))
        return np.concatenate([np.asarray(self._call(dict(params), _scaled(x), None)) for x in parts])

    def parameters(self) -> dict[str, np.ndarray]:
        """Return parameters and state by xpnet's names."""
        return {name: np.array(p) for name, p in {**self._state.trained, **self._state.layers}.items()}


def device_name() -> str:
    """Return ``"cpu"``, or the model of the GPU that JAX works on."""
    first = jax.devices()[0]
    return "cpu" if first.platform == "cpu" else str(first.device_kind)


def _initial_state(start: Start) -> State:
    params = jax.device_put(start.params)
    trained = {name: params.pop(name) for name in start.trained}
    zeros = {
        name: tuple(jnp.zeros_like(p) for _ in range(start.update.states)) for name, p in trained.items()
    }
    draws = any(hasattr(layer, "rate") for layer, _ in layers_of(start.trunk, None))
    number = jnp.zeros((), jnp.int32) if start.update.kind == "adam" or draws else None
    return State(trained, params, zeros, number)


def _epoch(
    loss: Any, rule: Update, state: State, inputs: Array, targets: Array, order: Array, *, batch_size: int
) -> State:
    def step(state: State, indices: Array) -> tuple[State, None]:
        number = None if state.number is None else state.number + 1
        # The order is a permutation, so the bounds checks that indexing would compile in are not needed.
        x, y = (data.at[indices].get(mode="promise_in_bounds") for data in (inputs, targets))
        grads, layers = jax.grad(loss, has_aux=True)(state.trained, state.layers, x, y, number)
        new = {
            name: updated(jnp, rule, p, grads[name], state.optimizer[name], number)
            for name, p in state.trained.items()
        }
        trained, optimizer = ({name: pair[i] for name, pair in new.items()} for i in (0, 1))
        return State(trained, layers, optimizer, number), None

    full = len(order) // batch_size * batch_size
    state, _ = jax.lax.scan(step, state, order[:full].reshape(-1, batch_size))
    return step(state, order[full:])[0] if full < len(order) else state


def _loss(
    call: Call, loss: Any, trained: Array, layers: Array, inputs: Array, targets: Array, number: Array | None
) -> tuple[Array, Array]:
    """Return the mean loss of a batch and the new state of layers."""
    params = {**trained, **layers}
    # Without a step's number nothing is drawn; the key only says that this is training.
    key = jax.random.key(0 if number is None else number)
    value = loss(call(params, _scaled(inputs), key), targets)
    return value, {name: params[name] for name in layers}


def _scaled(inputs: Array) -> Array:
    return inputs.astype(jnp.float32) / 255 if inputs.dtype == jnp.uint8 else inputs
