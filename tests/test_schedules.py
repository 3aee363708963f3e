"""Schedules: their rates by hand, and what they refuse; PyTorch's are compared in tests/nn."""

import dataclasses
import math

import numpy as np
import pytest

import xpnet
from xpnet import schedules
from xpnet.schedules import SCHEDULES, Constant, Cosine, OneCycle, Step, Warmup, rate_at

EACH = [
    Constant(0.5),
    Step(0.5, every=3),
    Cosine(0.5, steps=8, final=0.1),
    Warmup(4, Cosine(0.5, steps=8)),
    OneCycle(0.5, steps=20),
]


def rates(schedule, steps):
    return [schedule(step) for step in range(1, steps + 1)]


def test_rates_are_those_worked_out_by_hand():
    assert rates(Constant(0.5), 3) == [0.5] * 3
    assert rates(Step(1.0, every=2, factor=0.5), 5) == [1.0, 1.0, 0.5, 0.5, 0.25]
    half = 0.1 + 0.4 * (1 + math.cos(math.pi / 4)) / 2
    assert rates(Cosine(0.5, 4, final=0.1), 3) == pytest.approx([0.5, half, 0.3])
    assert rates(Warmup(4, 0.8, start=0.5), 6) == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.8])
    assert rates(Warmup(1, Step(0.8, 1, 0.5), start=0), 3) == [0.0, 0.8, 0.4]
    cycle = OneCycle(1.0, 10, div_factor=10, final_div_factor=100)
    assert [cycle(1), cycle(2), cycle(3), cycle(10)] == pytest.approx([0.1, 0.55, 1.0, 0.001])


def test_last_rate_stays():
    assert rates(Cosine(0.5, 4, final=0.1), 9)[4:] == [0.1] * 5
    assert rates(Cosine(0.5, 4), 9)[4:] == [0.0] * 5
    assert len({*rates(OneCycle(0.5, 10), 30)[9:]}) == 1


@pytest.mark.parametrize("pct_start", [0, 0.01, 0.5, 1])
@pytest.mark.parametrize("steps", [1, 2, 100])
def test_cycle_of_any_length_has_finite_rates(steps, pct_start):
    assert all(0 < rate <= 0.5 for rate in rates(OneCycle(0.5, steps, pct_start), steps + 2))


@pytest.mark.parametrize("schedule", EACH, ids=repr)
def test_product_has_all_rates_multiplied(schedule):
    for product in (schedule * 0.25, 0.25 * schedule):
        assert type(product) is type(schedule)
        assert rates(product, 25) == pytest.approx([0.25 * rate for rate in rates(schedule, 25)])


def test_names_are_those_of_the_classes():
    assert {name: getattr(schedules, name) for name in SCHEDULES} == SCHEDULES
    assert list(SCHEDULES) == ["constant", "step", "cosine", "warmup", "one_cycle"]
    assert {type(schedule) for schedule in EACH} == {*SCHEDULES.values()}
    assert xpnet.schedules is schedules


def test_schedules_are_plain_data():
    assert dataclasses.replace(Step(0.5, np.int64(3)), factor=np.float32(0.5)) == Step(0.5, 3, 0.5)
    assert repr(Warmup(4, 0.5)) == f"Warmup(steps=4, then=Constant(lr=0.5), start={1 / 3!r})"
    assert len({*EACH, *EACH}) == len(EACH)


def test_rate_is_a_number_or_what_a_schedule_returns():
    assert rate_at(0.5, None) == 0.5
    assert rate_at(Step(0.5, 1), 2) == 0.05
    assert rate_at(lambda step: np.float64(1 / step), 4) == 0.25
    assert type(rate_at(lambda step: np.float64(1 / step), 4)) is float


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0), "`lr` must be a finite number above 0, got 0"),
        (lambda: Step(-1, 3), "`lr` must be a finite number above 0, got -1"),
        (lambda: Step(0.5, 0), "`every` must be a whole number above 0, got 0"),
        (lambda: Step(0.5, 3, factor=0), "`factor` must be a finite number above 0, got 0"),
        (lambda: Cosine(0.5, 2.5), "`steps` must be a whole number above 0, got 2.5"),
        (lambda: Cosine(0.5, 9, final=-0.1), "`final` must be a finite number, 0 or above, got -0.1"),
        (lambda: Warmup(9, "fast"), "`then` must be a finite number above 0, got 'fast'"),
        (lambda: Warmup(9, Cosine), "`then` must be a finite number above 0, got <class"),
        (lambda: Warmup(9, 0.5, start=1.5), r"`start` must be in \[0, 1\], got 1.5"),
        (lambda: OneCycle(0.5, 9, pct_start=30), r"`pct_start` must be in \[0, 1\], got 30"),
        (lambda: OneCycle(0.5, 9, div_factor=0), "`div_factor` must be a finite number above 0, got 0"),
        (lambda: OneCycle(0.5, 9, final_div_factor=None), "`final_div_factor` must be a finite number above"),
        (lambda: Constant(0.5)(0), "`step` must be a whole number above 0, got 0"),
        (lambda: Constant(0.5) * 0, "`factor` must be a finite number above 0, got 0"),
        (lambda: -1 * Constant(0.5), "`factor` must be a finite number above 0, got -1"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
