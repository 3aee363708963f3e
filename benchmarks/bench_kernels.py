"""Every function of `xp.nn`, fused against its portable twin on arguments drawn from its declaration."""

import functools

import pytest

from xpnet import nn
from xpnet.drawing import drawn, passed, placed
from xpnet_bench.limit import products_of

# Rows, inputs and outputs: the default network's widest layer, and one that leaves the processor's caches.
SHAPES = {"small": (128, 784, 64), "large": (1024, 1024, 1024)}
ROUNDS = {"small": 30, "large": 5}
ITERATIONS = {"small": 10, "large": 1}


def _sizes(function, batch, n_in, n_out):
    """Return the length of each axis: steps change a weight, other functions read a batch of outputs."""
    lengths = {
        "batch": batch,
        "n": 8 * batch,
        "features": n_in,
        "n_in": n_in,
        "n_out": n_out,
        "classes": n_out,
    }
    return lengths | {"*": (n_in, n_out) if function.is_step else (batch, n_out)}


@pytest.mark.parametrize("form", ["fused", "portable"])
@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("name", nn.__all__)
def bench_kernel_against_its_twin(benchmark, record, xp, name, size, form):
    if form == "fused" and name not in xp.fused:
        pytest.skip(f"{xp.name} runs only the portable twin")
    shape, declared = SHAPES[size], nn.FUNCTIONS[name]
    given = placed(xp, declared, drawn(declared, seed=0, sizes=_sizes(declared, *shape)))
    args, options = passed(declared, given)
    function = getattr(xp.nn, name) if form == "fused" else functools.partial(declared.twin, xp)

    def run():
        function(*args, **options)
        xp.synchronize()

    benchmark.group = f"{name} {size}"
    benchmark.pedantic(run, rounds=ROUNDS[size], iterations=ITERATIONS[size], warmup_rounds=2)
    products = products_of(xp, functools.partial(declared.twin, **given))
    record(batch=shape[0], sizes=shape[1:], examples=shape[0], products=products, form=form)
