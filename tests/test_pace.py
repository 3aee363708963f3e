"""The lengths of chunks of steps, and trainings whose results do not depend on them."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpnet
import xpnet.pace
from xpnet.pace import Pace


class Clock:
    """A clock that stands still, except while steps are taken."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def lengths(pace, steps, seconds, *, clock):
    """Return how long chunks of steps are that take so long each."""
    found = []
    for begin, end in pace.chunks(steps):
        assert begin == sum(found)
        found.append(end - begin)
        clock.now += (end - begin) * seconds
    assert sum(found) == steps
    return found


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(xpnet.pace, "time", clock)
    return clock


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from([0, 1e-6, 1e-3, 0.07, 5.0])), max_size=9))
def test_chunks_cover_all_steps_once(epochs):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xpnet.pace, "time", clock)
        pace = Pace()
        for steps, seconds in epochs:
            assert min(lengths(pace, steps, seconds, clock=clock), default=1) > 0


def test_chunks_grow_until_they_take_the_time(clock):
    assert lengths(Pace(1 / 8), 500, 1 / 1024, clock=clock) == [1, 4, 16, 64, 128, 128, 128, 31]


def test_first_chunk_is_one_step_and_slow_steps_are_taken_one_by_one(clock):
    assert lengths(Pace(1 / 8), 5, 2.0, clock=clock) == [1] * 5


def test_chunks_follow_the_time_of_steps(clock):
    pace = Pace(1 / 8)
    lengths(pace, 500, 1 / 1024, clock=clock)
    assert lengths(pace, 300, 1 / 128, clock=clock)[:3] == [128, 16, 16]
    assert lengths(pace, 500, 1 / 1024, clock=clock)[:4] == [16, 64, 128, 128]


def test_chunk_that_is_cut_short_shortens_others_only_if_it_took_too_long(clock):
    pace = Pace(1 / 8)
    lengths(pace, 500, 1 / 1024, clock=clock)
    assert lengths(pace, 1, 1 / 16, clock=clock) == [1]
    assert lengths(pace, 128, 1 / 1024, clock=clock) == [128]
    assert lengths(pace, 1, 1 / 2, clock=clock) == [1]
    assert lengths(pace, 100, 1 / 1024, clock=clock) == [1, 4, 16, 64, 15]


def test_chunks_of_no_time_are_single_steps(clock):
    assert lengths(Pace(0), 5, 0.0, clock=clock) == [1] * 5
    assert lengths(Pace(0), 5, 1.0, clock=clock) == [1] * 5


def test_chunks_grow_while_the_clock_stands_still(clock):
    assert lengths(Pace(), 100, 0.0, clock=clock) == [1, 4, 16, 64, 15]


MODEL = xpnet.Sequential(xpnet.Linear(12, 8), xpnet.ReLU(), xpnet.Dropout(0.3), xpnet.Linear(8, 3))
OPTIONS = {
    "optimizer": xpnet.Adam(xpnet.schedules.Warmup(5, xpnet.schedules.Cosine(0.05, steps=60))),
    "epochs": 4,
    "batch_size": 8,  # eleven batches, and two samples
    "seed": 1,
}


def train(xp, data, monkeypatch, *, pace, **options):
    """Return a run whose epochs are taken at this pace, and by how many steps the bar was advanced."""
    advanced = []

    @contextlib.contextmanager
    def bar(total, what, *, show=None):
        yield advanced.append
        assert sum(advanced) == total

    with monkeypatch.context() as patch:
        patch.setattr("xpnet.epochs.progress_bar", bar)
        patch.setattr("xpnet.trainer.Pace", pace)
        return xpnet.fit(xp, MODEL, data, **OPTIONS | options), advanced


def assert_same(run, expected):
    assert [(e.train_loss, e.lr) for e in run.history] == [(e.train_loss, e.lr) for e in expected.history]
    for name, p in expected.params.items():
        np.testing.assert_array_equal(run.xp.to_host(run.params[name]), expected.xp.to_host(p))


def at_once():
    return Pace(1e9)


def one_by_one():
    return Pace(0)


class Drawn(Pace):
    """Steps in chunks of any lengths."""

    def chunks(self, steps):
        begin = 0
        for length in itertools.cycle([3, 1, 5]):
            end = min(begin + length, steps)
            yield begin, end
            if (begin := end) == steps:
                return


def test_result_of_a_training_does_not_depend_on_chunks(backend, dataset, monkeypatch, tmp_path):
    expected, advanced = train(backend, dataset, monkeypatch, pace=one_by_one)
    assert advanced == [1] * 48
    for pace, first in ((at_once, [1, 4, 6, 1, 11, 1]), (Drawn, [3, 1, 5, 2, 1, 3])):
        run, advanced = train(backend, dataset, monkeypatch, pace=pace)
        assert advanced[:6] == first
        assert_same(run, expected)
    train(backend, dataset, monkeypatch, pace=Drawn, epochs=2, checkpoint=tmp_path)
    resumed, _ = train(backend, dataset, monkeypatch, pace=at_once, resume=tmp_path)
    assert_same(resumed, expected)


def test_result_with_weights_of_samples_does_not_depend_on_chunks(backend, dataset, monkeypatch):
    weights = np.linspace(0.5, 2, 90)
    data = xpnet.Dataset(dataset.images, dataset.labels, sample_weight=weights)
    runs = [train(backend, data, monkeypatch, pace=pace)[0] for pace in (one_by_one, at_once, Drawn)]
    for run in runs[1:]:
        assert_same(run, runs[0])
