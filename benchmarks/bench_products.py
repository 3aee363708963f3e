"""A linear layer by our own kernels and by cuBLAS, activation included: `LARGEST_PRODUCT` is where they meet.

On a GPU only; ``pytest benchmarks/bench_products.py`` prints both side by side, by shape. Each is a CUDA
graph, as in a captured step: without one, only Python's launches would be timed.
"""

import numpy as np
import pytest

from xpnet_bench.limit import backward_products, forward_product

# Rows, inputs and outputs: the course's network, then products of 2**18 to 2**30 multiplications.
SHAPES = [
    (128, 784, 64),
    (128, 64, 10),
    (32, 784, 64),
    *[(side, side, side) for side in (64, 128, 160, 192, 208, 224, 256, 384, 512, 1024)],
]
STEPS = 20


@pytest.mark.parametrize("by", ["ours", "cuBLAS", "cuBLAS in TF32"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def bench_layer_by_who_multiplies(benchmark, record, monkeypatch, xp, shape, by):
    if xp.name != "cupy":
        pytest.skip("cuBLAS is for a GPU")
    from xpnet_cupy import capture, dense

    monkeypatch.setattr(dense, "LARGEST_PRODUCT", 2**62 if by == "ours" else 0)
    layer = dense.Dense(tf32=by == "cuBLAS in TF32")
    batch, n_in, n_out = shape
    random = np.random.Generator(np.random.Philox(0))
    x, weight, dy = (
        xp.asarray(random.random(size, np.float32)) for size in ((batch, n_in), (n_in, n_out), (batch, n_out))
    )
    bias = xp.zeros((n_out,), dtype=xp.float32)
    velocities, numbers = (xp.zeros_like(weight), xp.zeros_like(bias)), {"lr": 1e-9, "beta": 0.9}

    def train():
        for _ in range(STEPS):
            layer.activated("sigmoid", x, weight, bias)
            layer.backward("sigmoid", weight, dy, x)
            layer.step("momentum_step", x, dy, (weight, velocities[0]), (bias, velocities[1]), numbers)

    launch = capture.Captured(train)

    def steps():
        launch()
        xp.synchronize()

    benchmark.group = "x".join(map(str, shape))
    benchmark.pedantic(steps, rounds=10, warmup_rounds=2)
    products_of_a_step = [forward_product(*shape), *backward_products(*shape, input_gradient=True)]
    record(batch=batch, sizes=shape[1:], examples=STEPS * batch, products=STEPS * products_of_a_step, by=by)
