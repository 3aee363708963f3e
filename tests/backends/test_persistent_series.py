"""The numbers that a scan uploads, one for each step; no device is needed."""

import cuda_on_host
import numpy
import pytest

from xpnet import schedules
from xpnet.replay.program import Loop
from xpnet.replay.trace import Running

package = cuda_on_host.load()
LEAVES = [None, None, 7, 3]


def series(*running, steps=50, counted=None, dtype="float64"):
    loop = Loop(steps, {}, {}, {2: 1} if counted is None else counted)
    return package.series.series(running, LEAVES, loop, numpy.dtype(dtype))


def test_each_step_has_the_number_of_its_count():
    rate, unbias = schedules.Cosine(0.5, steps=30), package.numbers.Unbias(0.9)
    found = series(Running(2, 1, rate), Running(2, 0, unbias))
    assert found[:, 0].tolist() == [rate(7 + 1 + i) for i in range(50)]
    assert found[:, 1] == pytest.approx([unbias(7 + i) for i in range(50)], rel=1e-15)
    assert found.flags.c_contiguous


def test_count_that_a_scan_does_not_change_has_one_number():
    assert series(Running(3, 1, float), steps=4)[:, 0].tolist() == [4.0] * 4
    assert series(Running(3, 1, float), steps=3, counted={3: 2})[:, 0].tolist() == [4.0, 6.0, 8.0]
    assert series(Running(3, 1, float), steps=3, counted={3: -2})[:, 0].tolist() == [4.0, 2.0, 0.0]


def test_numbers_have_the_dtype_of_the_plan_and_none_have_no_bytes():
    assert series(Running(2, 1, float), dtype="float32").dtype == "float32"
    assert series().nbytes == 0


def test_schedule_that_ends_within_a_scan_raises_its_own_error():
    rates = (0.5,) * 20
    with pytest.raises(IndexError):
        series(Running(2, 0, lambda n: rates[n]))
