"""The model of an allreduce, against values computed by hand."""

import pytest

from xpnet_bench.distributed.least_squares import fitted
from xpnet_bench.distributed.link import (
    Link,
    allreduce,
    fitted_link,
    parsed,
    rabenseifner,
    recursive_doubling,
    relative_errors,
    rounds_of,
)

# 2 us, 1 GB/s, 0.5 ns to add a byte.
LINK = Link(2e-6, 1e-9, 0.5e-9)
SIZES = [4**k for k in range(1, 14)]


@pytest.mark.parametrize(("ranks", "rounds"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (512, 9)])
def test_rounds_are_the_logarithm_rounded_up(ranks, rounds):
    assert rounds_of(ranks) == rounds


def test_recursive_doubling_is_that_of_the_hand_calculation():
    # 3 rounds of 2 us and 1000 bytes at 1.5 ns: 3 * (2 + 1.5) us.
    assert recursive_doubling(LINK, 8, 1000) == pytest.approx(10.5e-6)


def test_rabenseifner_is_that_of_the_hand_calculation():
    # 6 messages of 2 us; 7/8 of a megabyte twice at 1 ns and once at 0.5 ns: 12 us + 2187.5 us.
    assert rabenseifner(LINK, 8, 1_000_000) == pytest.approx(2199.5e-6)


def test_faster_algorithm_counts():
    assert allreduce(LINK, 8, 1000) == recursive_doubling(LINK, 8, 1000)
    assert allreduce(LINK, 8, 1_000_000) == rabenseifner(LINK, 8, 1_000_000)


def test_one_rank_waits_for_nobody():
    assert allreduce(LINK, 1, 1_000_000) == 0


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_fit_finds_the_link_that_made_the_times(ranks):
    seconds = [allreduce(LINK, ranks, n) for n in SIZES]
    found = fitted_link(SIZES, seconds, ranks=ranks, gamma=LINK.gamma)
    assert found == pytest.approx(LINK, rel=1e-9)
    assert relative_errors(found, SIZES, seconds, ranks=ranks) == pytest.approx([0] * len(SIZES), abs=1e-9)


def test_fit_weighs_short_and_long_vectors_alike():
    # A tenth more or less, by turns: absolute errors would let the largest decide.
    factors = [1.1 if k % 2 else 0.9 for k in range(len(SIZES))]
    seconds = [f * allreduce(LINK, 2, n) for f, n in zip(factors, SIZES, strict=True)]
    found = fitted_link(SIZES, seconds, ranks=2, gamma=LINK.gamma)
    assert found.alpha == pytest.approx(LINK.alpha, rel=0.1)
    assert found.beta == pytest.approx(LINK.beta, rel=0.2)


def test_fit_has_no_negative_factors():
    # Sums that were measured to take longer than the whole exchange did.
    seconds = [allreduce(Link(2e-6, 0, 0.5e-9), 2, n) for n in SIZES]
    found = fitted_link(SIZES, seconds, ranks=2, gamma=0.8e-9)
    assert min(found) >= 0


def test_least_squares_are_those_of_the_relative_errors():
    # By hand: the factor f that makes (f - 1)^2 + (f / 2 - 1)^2 least is 1.2.
    factors, error = fitted([[1.0], [1.0]], [1.0, 2.0])
    assert factors == pytest.approx([1.2])
    assert error == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "alpha", "beta"),
    [
        ("100 Gbit/s, 2 us", 2e-6, 0.08e-9),
        ("2us,12.5 GB/s", 2e-6, 0.08e-9),
        ("1 gbit/s, 0.05 ms", 50e-6, 8e-9),
        ("200 MB/s, 900 ns", 0.9e-6, 5e-9),
        ("10 Gbit/s, 1.5 \N{MICRO SIGN}s", 1.5e-6, 0.8e-9),
    ],
)
def test_network_is_read_in_its_usual_units(text, alpha, beta):
    assert parsed(text) == pytest.approx((alpha, beta))


@pytest.mark.parametrize("text", ["", "fast", "100 Gbit/s", "2 us, 3 us", "0 Gbit/s, 2 us", "1 Gb, 2 us"])
def test_other_networks_are_refused(text):
    with pytest.raises(ValueError, match="no link; pass its rate and its latency as in '100 Gbit/s, 2 us'"):
        parsed(text)
