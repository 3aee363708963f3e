"""How much of a difference noise explains, against enumeration and the tables of the rank-sum test."""

import itertools
import math

import numpy as np
import pytest

from xpnet_bench import noise
from xpnet_bench.noise import ratio_interval


@pytest.mark.parametrize(
    ("n", "m", "confidence"),
    [(5, 5, 1 - 2 / 252), (3, 3, 1 - 2 / 20), (2, 2, 1 - 2 / 6), (3, 5, 1 - 2 / 56), (1, 1, 0.0)],
)
def test_few_rounds_take_the_whole_range_of_quotients(n, m, confidence):
    own, other = [2.0 + i / 8 for i in range(n)], [1.0 + i / 16 for i in range(m)]
    found = ratio_interval(own, other)
    assert found.confidence == pytest.approx(confidence)
    assert (found.low, found.high) == (min(own) / max(other), max(own) / min(other))


def test_confidence_of_many_rounds_is_the_least_that_is_wanted():
    own, other = [1.0 + i / 100 for i in range(20)], [1.005 + i / 100 for i in range(20)]
    found = ratio_interval(own, other)
    assert 0.99 <= found.confidence < 0.991
    assert min(own) / max(other) < found.low < 1 < found.high < max(own) / min(other)


def test_rankings_are_those_of_all_orders():
    for n, m in ((2, 3), (4, 2)):
        found = [0] * (n * m + 1)
        for chosen in itertools.combinations(range(n + m), n):
            found[sum(place - i for i, place in enumerate(chosen))] += 1
        assert found == [noise._rankings(n, m, u) for u in range(n * m + 1)]
        assert sum(found) == math.comb(n + m, n)


def test_intervals_of_equal_competitors_include_one_as_often_as_they_say():
    random = np.random.default_rng(0)
    rounds = random.lognormal(sigma=0.3, size=(4000, 2, 5))
    wrong = np.mean([ratio_interval(*pair.tolist()).excludes_one for pair in rounds])
    assert wrong == pytest.approx(2 / 252, abs=0.005)


def result(name, *seconds):
    return {"name": name, "seconds": seconds}


def test_race_says_who_cannot_be_told_from_the_first():
    results = [result("a", 1.0, 1.2, 1.1), result("b", 1.15, 1.3, 1.18), result("c", 5.0, 5.1, 5.2)]
    text = " ".join(map(str.strip, noise.lines({"results": results})))
    assert "the slowest round of a took 1.20 times as long as its fastest; a against itself" in text
    assert "odd rounds to even ones: 0.88." in text  # 1.05 / 1.2
    assert text.endswith("Not told apart from a with 90 % confidence: b.")
    others = " ".join(map(str.strip, noise.lines({"results": [results[0], results[2]]})))
    assert others.endswith("All others differ from a with 90 % confidence.")
    assert noise.lines({"results": [result("a", 1.0)]}) == [
        "noise: unknown after one round; take more `--rounds`"
    ]


def test_noise_of_many_competitors_fits_a_terminal():
    results = [result(f"a long name {i}", 1.0, 1.2, 1.1) for i in range(12)]
    assert max(map(len, noise.lines({"results": results}))) <= 80
