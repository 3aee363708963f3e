"""The model of steps on ranks that are not there, against values computed by hand."""

import pytest

import xpnet
from xpnet_bench.distributed.compute import Compute, Measured, Work, fitted_compute, nearest, work_of
from xpnet_bench.distributed.link import Link
from xpnet_bench.distributed.prediction import Prediction

# 100 Gflop/s, 2 ns a parameter; a tenth longer beside others, and 0.5 ns a parameter to pack it.
COMPUTE = Compute(1e-11, 2e-9, 1.1, 0.5e-9)
LINK = Link(1e-6, 1e-9, 0.5e-9)
MODEL = Prediction(COMPUTE, LINK)


def small(rows):
    """Return the work of a network with a million parameters."""
    return Work(10**7 * rows, 10**6)


def test_work_of_a_perceptron_is_that_of_the_hand_calculation():
    # Three products for each layer but the first, whose input needs no gradient.
    flops = 2 * 32 * (2 * 784 * 64 + 3 * 64 * 10)
    assert work_of(xpnet.mlp(784, 64, 10), 32, (784,)) == Work(flops, 784 * 64 + 64 + 64 * 10 + 10)


def test_ranks_exchange_four_bytes_a_parameter():
    assert Work(0, 1000).gradient_bytes == 4000


def test_step_of_one_rank_is_that_of_the_hand_calculation():
    # 10 rows of 0.1 ms, and a million parameters of 2 ns.
    assert MODEL.step(small(10), 1) == pytest.approx(3e-3)


def test_step_of_eight_ranks_is_that_of_the_hand_calculation():
    # 3.3 ms and 0.5 ms to pack, and 4 MB by Rabenseifner: 6 us + 7/8 * 4 MB * 2.5 ns = 8.756 ms.
    assert MODEL.step(small(10), 8) == pytest.approx(12.556e-3)
    assert MODEL.efficiency(small(10), 8) == pytest.approx(3 / 12.556)


def test_speed_up_counts_the_rank_with_the_most_rows():
    # 100 rows on 8 ranks: 13 on the fullest. Alone 12 ms; divided 1.1 * 3.3 + 0.5 + 8.756 ms.
    assert MODEL.speed_up(small, 100, 8) == pytest.approx(12 / (1.1 * 3.3 + 9.256))


def test_least_rows_reach_the_efficiency():
    # 0.8 (1.1 t + 9.256 ms) = t at t = 61.7 ms, which are 597 rows.
    assert MODEL.least_rows(small, 8) == 1024
    assert MODEL.efficiency(small(512), 8) < 0.8 <= MODEL.efficiency(small(1024), 8)


def test_ranks_never_pay_where_memory_is_too_slow():
    assert Prediction(COMPUTE._replace(contention=1.3), LINK).least_rows(small, 2) is None


def test_fastest_number_of_ranks_has_a_row_for_each():
    quick = Prediction(Compute(1e-11, 0, 1.0, 0), Link(1e-9, 0, 0))
    assert quick.fastest(small, 64) == 64
    assert quick.fastest(small, 10**6) == 512


def test_one_rank_is_fastest_if_messages_are_slow():
    assert Prediction(COMPUTE, Link(1.0, 1e-9, 0)).fastest(small, 1024) == 1


def test_fit_finds_the_compute_that_made_the_times():
    works = [small(rows) for rows in (1, 8, 64)]
    alone = [COMPUTE.alone(work) for work in works]
    beside = [COMPUTE.beside(work) for work in works]
    assert fitted_compute(works, alone, beside) == pytest.approx(COMPUTE, rel=1e-6)


def test_ranks_are_not_faster_beside_others():
    works = [small(1), small(10)]
    assert fitted_compute(works, [1e-3, 1e-2], [0.9e-3, 0.9e-2]).contention == 1


def test_nearest_network_is_that_of_the_least_ratio_of_parameters():
    narrow, wide = (Measured(f"{p} parameters", p, COMPUTE) for p in (10**4, 10**6))
    # The geometric mean of the two is 10^5; the arithmetic one is five times that.
    for parameters, expected in ((10**3, narrow), (90_000, narrow), (110_000, wide), (10**8, wide)):
        assert nearest([narrow, wide], parameters) == expected
