"""An epoch of each peer, in a process of its own, beside those of bench_epoch.py."""

import pytest

from xpnet_bench.errors import UnusableError
from xpnet_bench.peers import PEERS
from xpnet_bench.rounds import Entry, Lane
from xpnet_bench.workload import Workload

ROUNDS = 5


@pytest.mark.parametrize("name", PEERS)
def bench_epoch_of_a_peer(benchmark, threads, name):
    workload = Workload()
    try:
        lane = Lane(Entry("peer", name), workload, threads)
    except UnusableError as e:
        pytest.skip(str(e))
    try:
        # What is timed holds a line there and a line back through a pipe, about 0.1 ms.
        benchmark.pedantic(lane.ask, args=("epoch",), rounds=ROUNDS)
        how = {"threads": threads, "batch": workload.batch_size, "sizes": list(workload.sizes)}
        benchmark.extra_info.update(lane.about | how | lane.ask("finish"))
    finally:
        lane.close()
