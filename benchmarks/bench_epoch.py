"""A mini-batch epoch of MNIST: the headline figure of a backend."""

import pytest

from xpnet_bench.limit import epoch_products
from xpnet_bench.workload import Workload

IMAGES = 60000
ROUNDS = 7


@pytest.mark.parametrize("data", ["resident", "transfer"])
def bench_epoch_of_the_default_network(benchmark, record, epochs, data):
    workload = Workload()
    training = epochs(workload, resident=data == "resident")
    orders = workload.orders(IMAGES)
    benchmark.pedantic(training.epoch, setup=lambda: ((next(orders),), {}), rounds=ROUNDS, warmup_rounds=1)
    record(
        batch=workload.batch_size,
        sizes=workload.sizes,
        examples=IMAGES,
        products=epoch_products(workload.sizes, IMAGES, workload.batch_size),
        data=data,
    )
