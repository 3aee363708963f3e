"""An epoch of each peer, in its own process, to compare with bench_epoch.py."""

import pytest

import xpnet
from xpnet_bench.errors import UnusableError
from xpnet_bench.limit import epoch_products, product_seconds
from xpnet_bench.peers import PEERS
from xpnet_bench.rounds import Entry, Lane
from xpnet_bench.workload import WORKLOADS

ROUNDS = 5


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("network", WORKLOADS)
def bench_epoch_of_a_peer(benchmark, threads, network, name):
    workload = WORKLOADS[network]
    try:
        lane = Lane(Entry("peer", name), workload, threads)
    except UnusableError as e:
        pytest.skip(str(e))
    try:
        # The time includes one line each way through a pipe, about 0.1 ms.
        benchmark.pedantic(lane.ask, args=("epoch",), rounds=ROUNDS)
        products = epoch_products(workload, lane.about["images"])
        benchmark.extra_info.update(
            lane.about,
            batch=workload.batch_size,
            network_title=workload.title,
            network=network,
            dtype="float64" if "float64" in name else "float32",
            threads=threads,
            **lane.ask("finish"),
        )
        if benchmark.stats is not None:
            median = benchmark.stats.stats.median
            limit = product_seconds(xpnet.backend("numpy"), products, rounds=5)
            benchmark.extra_info.update(
                examples_per_second=lane.about["images"] / median, share_of_limit=limit / median
            )
    finally:
        lane.close()
