"""Steps that change views of the same memory: their results are the same, replayed or not."""

import numpy
import pytest
from steps import assert_same, copied

SHARED = "the step is given arrays that share memory, and changes one of them"


def full(*values):
    return numpy.array(values, numpy.float32)


def step(xp, w, g, v):
    return xp.nn.sgd_step(w, g, 1.0), xp.nn.relu(v)


def whole(w):
    return w, w[:]


def halves(w):
    return w[:4], w[2:6]


def inside(w):
    return w[:4], w[3:4]


def around(w):
    return w[3:4], w[:4]


def raw(w):
    return w[:4], numpy.frombuffer(w.data, numpy.float32, 4, 8)


def integers(w):
    return w[:4], w.view(numpy.int32)[:4]


VIEWS = [whole, halves, inside, around, raw]


@pytest.mark.parametrize("views", VIEWS)
def test_views_of_one_memory_first_met_after_the_trial_are_found(replaying, views):
    compiled = replaying.compile(step)
    results = []
    for function in (step, compiled):
        w, v = views(numpy.arange(6, dtype=numpy.float32))
        for _ in range(4):
            function(replaying, numpy.zeros_like(w), numpy.ones_like(w), numpy.zeros_like(v))
        results.append(copied(function(replaying, w, numpy.ones_like(w), v)))
    assert_same(results[1], results[0])
    assert compiled.report == SHARED


@pytest.mark.parametrize("views", VIEWS)
def test_views_of_one_memory_in_the_first_call_are_found(replaying, views):
    compiled = replaying.compile(step)
    for _ in range(4):
        results = []
        for function in (step, compiled):
            w, v = views(numpy.arange(6, dtype=numpy.float32))
            results.append(copied(function(replaying, w, numpy.ones_like(w), v)))
        assert_same(results[1], results[0])
    assert compiled.report == SHARED


def test_view_of_another_dtype_is_found_with_the_array_that_is_changed(replaying):
    def step(xp, w, g, labels, indices):
        return xp.nn.sgd_step(w, g, 1.0), xp.nn.gather_labels(labels, indices)

    compiled, indices = replaying.compile(step), numpy.arange(4, dtype=numpy.int32)
    for _ in range(4):
        compiled(replaying, full(1, 2, 3, 4), full(1, 1, 1, 1), numpy.zeros(4, numpy.int32), indices)
    assert compiled.report == ""
    results = []
    for function in (step, compiled):
        w, v = integers(numpy.arange(6, dtype=numpy.float32))
        results.append(copied(function(replaying, w, numpy.ones_like(w), v, indices)))
    assert_same(results[1], results[0])
    assert compiled.report == SHARED


def test_gradient_that_is_the_parameter_itself_is_found_by_its_memory(replaying):
    compiled = replaying.compile(lambda xp, w, g: xp.nn.sgd_step(w, g, 0.5))
    for _ in range(4):
        compiled(replaying, full(2, 4), full(1, 1))
    w = full(2, 4)
    numpy.testing.assert_array_equal(compiled(replaying, w, w[:]), [1, 2])
    assert compiled.report == SHARED


def test_items_of_a_fold_that_are_views_of_its_carry_are_found(replaying):
    def step(xp, w, total, v):
        return xp.nn.sgd_step(w, v, 0.5), xp.nn.accumulate(total, total, 1.0)

    compiled = replaying.compile(step)
    carry = full(2, 4), numpy.array(1, numpy.float32)
    w, _ = carry = replaying.fold(compiled, carry, [(full(1, 1),)] * 5)
    assert compiled.report == ""
    numpy.testing.assert_array_equal(replaying.fold(compiled, carry, [(w[:],)])[0], [-0.25, 0.75])
    assert compiled.report == SHARED


def test_views_of_one_memory_that_nothing_changes_are_replayed(replaying):
    def step(xp, x, y, w, g):
        return xp.nn.relu_backward(x, y), xp.nn.sgd_step(w, g, 1.0)

    compiled = replaying.compile(step)
    for i in range(6):
        x = numpy.arange(i, i + 6, dtype=numpy.float32)
        result, _ = compiled(replaying, x[:4], x[2:], full(1, 2), full(1, 1))
        numpy.testing.assert_array_equal(result, numpy.where(x[:4] > 0, x[2:], 0))
    assert compiled.report == ""


def test_neighbours_in_one_memory_are_replayed(replaying):
    compiled = replaying.compile(step)
    for _ in range(6):
        memory = numpy.arange(32, dtype=numpy.float32)
        w, _ = compiled(replaying, memory[:16], memory[16:32], numpy.ones(3, numpy.float32))
        numpy.testing.assert_array_equal(w, numpy.full(16, -16))
    assert compiled.report == ""
