"""Steps called with many shapes, or with arguments that prevent replaying."""

import numpy
import pytest
from steps import assert_same, copied, make_arguments, step

from xpnet.replay import replayed


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


@pytest.fixture
def recordings(monkeypatch):
    """A list that grows with each recording."""
    found = []

    def noting(*args, **kwargs):
        found.append(args)
        return trace(*args, **kwargs)

    trace = replayed.trace
    monkeypatch.setattr(replayed, "trace", noting)
    return found


def batch(size):
    return make_arguments(batch=size)


def call_in_turn(xp, sizes, *, rounds, in_a_row=1):
    """Return a compiled step after calls with batches of these sizes, whose results were compared."""
    compiled = xp.compile(step)
    for _ in range(rounds):
        for size in sizes:
            for _ in range(in_a_row):
                assert_same(compiled(xp, *copied(batch(size))), step(xp, *batch(size)))
    return compiled


@pytest.mark.parametrize("in_a_row", [1, 2, 3])
def test_more_batch_sizes_than_places_are_not_recorded_again_and_again(xp, recordings, in_a_row):
    sizes = range(1, replayed._MOST_PROGRAMS + 2)
    compiled = call_in_turn(xp, sizes, rounds=8, in_a_row=in_a_row)
    assert len(recordings) == replayed._MOST_PROGRAMS + replayed._MOST_IN_VAIN
    assert compiled.report.startswith("the shapes of the arguments change too often to record each of them")
    assert sum(compiled._trusted.values()) > 4 * replayed._MOST_PROGRAMS  # The others are replayed.


def test_shapes_that_change_at_every_call_stop_being_recorded(xp, recordings):
    call_in_turn(xp, range(1, 37), rounds=2)
    assert len(recordings) == replayed._MOST_PROGRAMS + replayed._MOST_IN_VAIN


def test_as_many_batch_sizes_as_places_are_all_replayed(xp, recordings):
    compiled = call_in_turn(xp, range(1, replayed._MOST_PROGRAMS + 1), rounds=6)
    assert len(recordings) == replayed._MOST_PROGRAMS
    assert compiled.report == ""


@pytest.mark.parametrize("is_folded", [False, True])
def test_sizes_that_are_replayed_often_may_be_many(xp, recordings, is_folded):
    compiled = xp.compile(lambda xp, total, x: (xp.nn.accumulate(total, x, 1.0),))
    arrays = [numpy.ones(size, numpy.float32) for size in range(1, 31)]
    for x in arrays:
        items, carry = [(x,)] * (replayed._FEW_RUNS + 2), (numpy.zeros_like(x),)
        if is_folded:
            (total,) = xp.fold(compiled, carry, items)
        else:
            (total,) = carry
            for item in items:
                (total,) = compiled(xp, total, *item)
        numpy.testing.assert_array_equal(total, numpy.full_like(x, len(items)))
    assert len(recordings) == len(arrays)
    assert compiled.report == ""


FAULTS = {
    "Fortran order": (lambda x: (numpy.asfortranarray(x), x + 1), "C-contiguous"),
    "a reversed view": (lambda x: (x[::-1], x + 1), "C-contiguous"),
    "one array twice": (lambda x: (x, x), "given one array twice"),
    "another kind": (lambda x: (x, x + 1, 0.5), "neither an array nor a whole number: float"),
    "half precision": (lambda x: (x.astype(numpy.float16), x.astype(numpy.float16)), "float16"),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_call_that_is_not_replayed_leaves_other_calls_replayed(xp, recordings, fault, first):
    make, reason = FAULTS[fault]
    x = numpy.linspace(-3, 3, 12, dtype=numpy.float32).reshape(4, 3)

    def step(xp, y, dy, scale=None):
        return xp.nn.accumulate(y, dy, 0.5)

    compiled = xp.compile(step)
    for _ in range(0 if first else 3):
        compiled(xp, x, x + 1)
    for _ in range(3):
        numpy.testing.assert_array_equal(compiled(xp, *make(x)), step(xp, *make(x)))
        assert reason in compiled.report
    if fault != "half precision":
        assert compiled.report.endswith("; only such calls run as they are written")
    for _ in range(3):
        assert_same(compiled(xp, x, x + 1), step(xp, x, x + 1))
    assert len(compiled.programs) == 1
    assert [*compiled._trusted.values()] == [4 if not first else 1]
    assert len(recordings) == 1 + (fault == "half precision")


def test_fault_of_the_step_ends_its_replay(xp, recordings):
    compiled = xp.compile(lambda xp, x: xp.nn.relu(x + float(x[0])))
    for size in (3, 3, 4, 5):
        compiled(xp, numpy.ones(size, numpy.float32))
    assert len(recordings) == 2
    assert "reads a value on the host" in compiled.report


def test_program_that_fails_in_its_trial_is_refused_for_its_shapes_only(xp, monkeypatch):
    compiled = xp.compile(lambda xp, x: (xp.nn.relu(x),))
    small, large = numpy.ones(3, numpy.float32), numpy.ones(5, numpy.float32)
    compiled(xp, large)
    with monkeypatch.context() as patch:
        patch.setattr(compiled.programs[0], "run", lambda *args: 1 / 0)
        compiled(xp, large)
    assert compiled.report == "ZeroDivisionError: division by zero"
    for _ in range(3):
        compiled(xp, small)
        compiled(xp, large)
    assert len(compiled.programs) == 1


def test_call_whose_trial_meets_the_error_of_the_step_is_tried_again(numpy_xp):
    compiled = numpy_xp.compile(step)
    params, images, labels, indices = make_arguments()
    compiled(numpy_xp, copied(params), images, labels, indices)
    with pytest.raises(IndexError):
        compiled(numpy_xp, copied(params), images, labels, numpy.full_like(indices, 99))
    for _ in range(3):
        args = images, labels, indices
        assert_same(compiled(numpy_xp, copied(params), *args), step(numpy_xp, copied(params), *args))
    assert compiled.report == ""
    assert len(compiled._trusted) == 1
