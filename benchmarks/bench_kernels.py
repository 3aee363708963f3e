"""Every function of `xp.nn`, fused against its portable twin on the same arrays."""

import functools

import numpy as np
import pytest

from xpnet import nn
from xpnet_bench.limit import backward_products, forward_product

# Rows, inputs and outputs: the default network's widest layer, and one that leaves the processor's caches.
SHAPES = {"small": (128, 784, 64), "large": (1024, 1024, 1024)}
ROUNDS = {"small": 30, "large": 5}
ITERATIONS = {"small": 10, "large": 1}


def _arguments(xp, name, batch, n_in, n_out):
    """Return positional and keyword arguments of a function of `nn`, drawn from one seed."""
    random = np.random.Generator(np.random.Philox(0))

    def draw(*shape):
        return xp.asarray(random.random(shape, np.float32))

    labels = xp.asarray(random.integers(0, n_out, batch, np.int32))
    numbers = {"sgd_step": (0.1,), "adam_step": (1, 1e-3, 0.9, 0.999, 1e-8)}
    if name == "gather_batch":
        images = xp.asarray(random.integers(0, 256, (8 * batch, n_in), np.uint8))
        indices = xp.asarray(random.permutation(8 * batch)[:batch].astype(np.int32))
        return (images, indices), {"scale": 1 / 255, "offset": 0.0, "dtype": xp.float32}
    if name == "gather_labels":
        return (labels, xp.asarray(random.permutation(batch).astype(np.int32))), {}
    if name == "one_hot":
        return (labels, n_out), {"dtype": xp.float32}
    if name == "accumulate":
        return (xp.sum(draw(1)), xp.sum(draw(1)), batch), {}
    if name == "linear":
        return (draw(batch, n_in), draw(n_in, n_out), draw(n_out)), {}
    if name == "linear_backward":
        return (draw(batch, n_in), draw(n_in, n_out), draw(batch, n_out)), {}
    if name == "softmax_cross_entropy":
        return (draw(batch, n_out), labels), {}
    if name.endswith("_step"):
        arrays = {"sgd_step": 2, "adam_step": 4}.get(name, 3)
        return (*(draw(n_in, n_out) for _ in range(arrays)), *numbers.get(name, (0.1, 0.9))), {}
    pair = name.endswith(("_backward", "_error", "_entropy"))
    return tuple(draw(batch, n_out) for _ in range(1 + pair)), {}


def _products(name, batch, n_in, n_out):
    """Return the matrix products within a function; the others have no such limit."""
    if name == "linear":
        return [forward_product(batch, n_in, n_out)]
    if name == "linear_backward":
        return backward_products(batch, n_in, n_out, input_gradient=True)
    return []


@pytest.mark.parametrize("form", ["fused", "portable"])
@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("name", nn.__all__)
def bench_kernel_against_its_twin(benchmark, record, xp, name, size, form):
    if form == "fused" and name not in xp.fused:
        pytest.skip(f"{xp.name} runs the portable twin alone")
    shape = SHAPES[size]
    args, options = _arguments(xp, name, *shape)
    function = getattr(xp.nn, name) if form == "fused" else functools.partial(getattr(nn, name), xp)

    def run():
        function(*args, **options)
        xp.synchronize()

    benchmark.group = f"{name} {size}"
    benchmark.pedantic(run, rounds=ROUNDS[size], iterations=ITERATIONS[size], warmup_rounds=2)
    record(batch=shape[0], sizes=shape[1:], examples=shape[0], products=_products(name, *shape), form=form)
