"""A mini-batch epoch of MNIST: the headline figures of a backend."""

import pytest

from xpnet_bench.limit import epoch_products
from xpnet_bench.networks import dense_layers
from xpnet_bench.workload import WORKLOADS

IMAGES = 60000
ROUNDS = 7


@pytest.mark.parametrize("data", ["resident", "transfer"])
@pytest.mark.parametrize("network", WORKLOADS)
def bench_epoch_of_a_network(benchmark, record, epochs, network, data):
    workload = WORKLOADS[network]
    training = epochs(workload, resident=data == "resident")
    orders = workload.orders(IMAGES)
    benchmark.pedantic(training.epoch, setup=lambda: ((next(orders),), {}), rounds=ROUNDS, warmup_rounds=1)
    record(
        batch=workload.batch_size,
        sizes=[n for layer in dense_layers(workload.model) for n in layer[1:]],
        examples=IMAGES,
        products=epoch_products(workload, IMAGES),
        network=network,
        data=data,
    )
