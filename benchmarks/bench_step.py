"""One training step, from small ones, dominated by calls, to large ones, dominated by arithmetic."""

import numpy as np
import pytest

import xpnet
from xpnet_bench.limit import batch_products
from xpnet_bench.workload import Workload

# Enough rounds for this many multiplications, within bounds; the largest step has 1.1e11.
FLOPS = 1e10
MIN_ROUNDS, MAX_ROUNDS = 3, 30
# Smaller than the workload's own: wide networks would saturate, and denormal numbers would be timed.
LR = 0.1


@pytest.mark.parametrize("hidden", [64, 256, 1024, 4096])
@pytest.mark.parametrize("batch", [32, 128, 512, 2048, 8192])
def bench_step_by_batch_and_hidden_size(benchmark, record, epochs, batch, hidden):
    sizes = 784, hidden, 10
    workload = Workload(xpnet.mlp(*sizes), xpnet.Momentum(LR), batch_size=batch, limit=batch)
    training = epochs(workload, resident=True)
    products = batch_products(sizes, batch)
    rounds = int(FLOPS / sum(product.flops for product in products))
    benchmark.pedantic(
        training.epoch,
        args=(np.arange(batch, dtype=np.int32),),
        rounds=min(max(rounds, MIN_ROUNDS), MAX_ROUNDS),
        warmup_rounds=1,
    )
    record(batch=batch, sizes=sizes, examples=batch, products=products, data="resident")
