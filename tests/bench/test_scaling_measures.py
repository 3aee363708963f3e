"""What `xpnet bench --distributed` measures, and where."""

import pytest

from xpnet_bench.distributed.exchange import sizes_for
from xpnet_bench.distributed.placing import share


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, [[0, 1, 4, 5]]),
        (2, [[0, 1], [4, 5]]),
        (3, [[0], [1], [4, 5]]),
        (4, [[0], [1], [4], [5]]),
        (6, [[0], [0], [1], [4], [4], [5]]),
    ],
)
def test_ranks_divide_the_processors_of_a_machine(ranks, expected):
    assert [share([0, 1, 4, 5], rank, ranks) for rank in range(ranks)] == expected


def test_vectors_reach_from_a_number_to_beyond_the_gradient():
    sizes = sizes_for(7_000_000, quick=False)
    assert (sizes[0], sizes[-1]) == (4, 2**25)
    assert sizes_for(50_000_000, quick=False)[-1] == 2**26
    assert len(sizes_for(7_000_000, quick=True)) < len(sizes) / 2
