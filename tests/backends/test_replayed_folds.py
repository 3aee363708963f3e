"""Folds of compiled steps, beside the loops that they stand for."""

import gc
import itertools
import sys
import weakref
from unittest import mock

import numpy
import pytest
from steps import FACTOR, assert_same, copied, make_arguments, noting
from steps import step as take

import xpnet.folding
import xpnet.replay.replayed
from xpnet.replay.tree import leaves


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def step(xp, params, total, images, labels, indices):
    params, loss = take(xp, params, images, labels, indices)
    return params, xp.nn.accumulate(total, loss, 0.5)


def make_batches(sizes, *, seed=0):
    """Return a carry, and items with as many indices as said."""
    params, images, labels, _ = make_arguments(seed=seed)
    random = numpy.random.default_rng(seed)
    items = [(images, labels, random.permutation(37)[:size].astype(numpy.int32)) for size in sizes]
    return (params, numpy.zeros((), numpy.float32)), items


def folded(xp, step, carry, items):
    """Return what a plain loop makes of copies."""
    carry = copied(carry)
    for item in items:
        carry = step(xp, *carry, *copied(item))
    return carry


def assert_folds(xp, step, carry, items, *, compiled=None):
    """Compare a fold with a loop, and return the compiled step."""
    compiled = compiled or xp.compile(step)
    expected = folded(xp, step, carry, items)
    assert_same(xp.fold(compiled, copied(carry), items), expected, factor=FACTOR)
    return compiled


@pytest.mark.parametrize("sizes", [[16] * 9, [16, 16, 16, 16, 5] * 4, [16, 5] * 6, [16], [16, 16]])
def test_fold_equals_the_loop(xp, sizes):
    assert assert_folds(xp, step, *make_batches(sizes)).report == ""


def test_one_fold_after_another_begins_with_its_own_carry(xp):
    compiled = None
    for seed in (0, 1, 0, 2):
        compiled = assert_folds(xp, step, *make_batches([16] * 5, seed=seed), compiled=compiled)
    assert compiled.report == ""


@pytest.fixture
def calls():
    """What counts the items of folds that are replayed as if by a call."""
    with mock.patch.object(
        xpnet.replay.replayed, "next_carry", side_effect=xpnet.folding.next_carry
    ) as calls:
        yield calls


def test_fold_goes_on_without_a_call_for_each_item(xp, calls):
    """The first item of a size is recorded, the second tried, and from the third on one follows another."""
    assert_folds(xp, step, *make_batches([16] * 12 + [5] * 5))
    assert calls.call_count == 6


def test_images_may_change_from_item_to_item(xp):
    carry, items = make_batches([16] * 8)
    others = make_arguments(seed=7, kind="dense")[1]
    items[4:] = [(others, *rest) for _, *rest in items[4:]]
    assert assert_folds(xp, step, carry, items).report == ""


def test_other_dtypes_between_items_are_no_mistake(xp):
    carry, items = make_batches([16] * 8)
    images, labels, indices = items[5]
    items[5] = images, labels.astype(numpy.int64), indices
    items[6] = images.astype(numpy.float32), labels, indices
    assert assert_folds(xp, step, carry, items).report == ""


def test_items_of_other_lengths_and_forms_are_no_mistake(xp):
    def step(xp, total, *item):
        for leaf in leaves(item):
            total = xp.nn.accumulate(total, leaf, 1.0) if isinstance(leaf, numpy.ndarray) else total
        return (total,)

    x, y, z = (numpy.full((2, 3), 2.0**i, numpy.float32) for i in range(3))
    forms = [(x, y), (x,), (x, y, z), ((x, y),), ((x,), y), ([x], y), ({"x": x}, y), (x, None), (x, ()), ()]
    for form in forms:
        items = [form, form, form, *forms, form, form]
        assert_folds(xp, step, (numpy.zeros((2, 3), numpy.float32),), items)


def test_names_of_arrays_may_be_numbers_of_numpy(xp):
    def step(xp, params, grad):
        return {name: xp.nn.sgd_step(p, grad, 0.5) for name, p in params.items()}, None

    params = {numpy.int64(i): numpy.full((2, 3), i, numpy.float32) for i in range(2)}
    compiled = xp.compile(step)
    for _ in range(4):
        params, _ = compiled(xp, params, numpy.ones((2, 3), numpy.float32))
    assert compiled.report == ""


def test_item_may_hold_an_array_of_the_carry(xp):
    def step(xp, rate, total, x):
        return rate, xp.nn.accumulate(total, x, 0.5)

    rate, *xs = (numpy.array(i, numpy.float32) for i in range(1, 9))
    xs[5] = rate
    compiled = xp.compile(step)
    found = xp.fold(compiled, (rate, numpy.zeros((), numpy.float32)), [(x,) for x in xs])
    assert found[0] is rate
    assert found[1] == sum(xs) / 2
    assert compiled.report.startswith("the step is given one array twice; only such calls")


def test_results_of_another_shape_than_the_carry_are_no_mistake(xp, calls):
    def step(xp, labels, indices):
        return (xp.nn.gather_labels(labels, indices),)

    labels = numpy.arange(37, dtype=numpy.int32)
    items = [(numpy.roll(numpy.arange(-5, 0, dtype=numpy.int32), i),) for i in range(3)]
    compiled = xp.compile(step)
    for _ in range(4):
        calls.reset_mock()
        assert_folds(xp, step, (labels,), items, compiled=compiled)
    assert compiled.report == ""
    assert calls.call_count == 2


def test_carries_that_change_places_do(xp):
    def step(xp, a, b, x):
        return xp.nn.relu(b), xp.nn.accumulate(a, x, 1.0)

    a, b, *xs = (numpy.array(i, numpy.float32) for i in range(9))
    assert_folds(xp, step, (a, b), [(x,) for x in xs])

    def swap(xp, p, q, grad):
        return xp.nn.sgd_step(q, grad, 0.5), p

    p, q, *grads = (numpy.random.default_rng(i).normal(size=(3, 4)).astype(numpy.float32) for i in range(9))
    assert_folds(xp, swap, (p, q), [(grad,) for grad in grads])


def test_counts_and_trees_are_carried(xp, calls):
    def step(xp, state, done, item):
        p, mean, variance, count = state.values()
        p, mean, variance = xp.nn.adam_step(p, item["x"], mean, variance, count + 1, 0.1, 0.9, 0.99, 1e-3)
        return dict(zip(state, (p, mean, variance, count + 1), strict=True)), (done[0] + 3, None)

    arrays = [numpy.random.default_rng(i).normal(size=(3, 4)).astype(numpy.float32) for i in range(9)]
    state = {"p": arrays[0], "mean": 0 * arrays[0], "variance": 0 * arrays[0], "step": 0}
    items = [({"x": x},) for x in arrays[1:]]
    compiled = assert_folds(xp, step, (state, (0, None)), items)
    assert compiled.report == ""
    assert calls.call_count == 3
    state, done = xp.fold(compiled, (copied(state), (0, None)), items)
    assert (type(state["step"]), state["step"], done) == (int, 8, (24, None))


def test_fold_after_an_error_is_right(xp):
    carry, items = make_batches([16] * 6)
    compiled = assert_folds(xp, step, carry, items)

    def failing():
        yield from items[:5]
        raise ValueError("no more images")

    with pytest.raises(ValueError, match="no more images"):
        xp.fold(compiled, copied(carry), failing())
    if xp.name == "numpy":
        wrong = *items[0][:2], numpy.full(16, 99, numpy.int32)
        with pytest.raises(IndexError):
            xp.fold(compiled, copied(carry), [*items[:5], wrong])
    assert_folds(xp, step, carry, items, compiled=compiled)
    assert compiled.report == ""


def test_step_that_is_called_while_it_is_folded_is_right(xp):
    carry, items = make_batches([16] * 6)
    other, _ = make_batches([], seed=3)
    compiled, found = xp.compile(step), []

    def calling():
        for item in items:
            found.append(compiled(xp, *copied(other), *item))
            yield item

    assert_same(xp.fold(compiled, copied(carry), calling()), folded(xp, step, carry, items), factor=FACTOR)
    for result, item in zip(found, items, strict=True):
        assert_same(result, step(xp, *copied(other), *item), factor=FACTOR)


def test_step_that_cannot_be_replayed_is_folded_as_it_is(xp):
    def step(xp, total, x):
        total += x
        return (total,)

    compiled = xp.compile(step)
    zeros, ones = numpy.zeros(3, numpy.float32), numpy.ones(3, numpy.float32)
    (total,) = xp.fold(compiled, (zeros,), [(ones,)] * 5)
    numpy.testing.assert_array_equal(total, 5)
    assert "total += x` changes an array in place" in compiled.report


def full(x):
    return numpy.full((2, 3), x, numpy.float32)


def twice_in_an_item():
    def step(xp, total, p, g, q):
        p = xp.nn.sgd_step(p, xp.nn.sigmoid(g), 0.5)
        return (xp.nn.accumulate(total, xp.nn.sigmoid(q), 1.0),)

    y = full(9)
    return step, (full(0),), [*((full(i), full(2 * i), full(3 * i)) for i in range(6)), (y, full(7), y)]


def carried_and_in_the_item():
    def step(xp, before, total, x):
        before = xp.nn.sgd_step(before, xp.nn.sigmoid(total), 0.5)
        return x, xp.nn.accumulate(total, x, 1.0)

    return step, (full(1), full(2)), [(full(3),)] * 4


def twice_in_the_carry():
    def step(xp, p, q, total, g):
        p = xp.nn.sgd_step(p, xp.nn.sigmoid(g), 0.5)
        return p, p, xp.nn.accumulate(total, q, 1.0)

    return step, (full(1), full(2), full(3)), [(full(i),) for i in range(4)]


@pytest.mark.parametrize("make", [twice_in_an_item, carried_and_in_the_item, twice_in_the_carry])
def test_array_in_two_places_is_found(xp, make):
    step, carry, items = make()
    compiled = xp.compile(step)
    for _ in range(2):  # Then it is trusted.
        compiled(xp, *copied(carry), *copied(items[0]))
    found = xp.fold(compiled, carry, items)
    step, carry, items = make()
    for item in items:
        carry = step(xp, *carry, *item)
    assert_same(found, carry)
    assert compiled.report.startswith("the step is given one array twice; only such calls")


REPLAYING = "xpnet.replay.program", "xpnet.replay.lower", "xpnet_numpy.program", "xpnet_numba.program"


def interrupt_at(k, action):
    """Do something, and interrupt it at line `k` of what replays; return whether there are so many lines."""
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        if frame.f_globals["__name__"] not in REPLAYING:
            return None
        lines += event in ("line", "return")
        if lines == k:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_fold_after_an_interruption_is_right(xp):
    def step(xp, total, x):
        return (xp.nn.accumulate(total, x, 1.0),)

    zero, *xs = (numpy.array(i, numpy.float32) for i in range(6))
    compiled = xp.compile(step)
    for k in itertools.count(1):
        assert xp.fold(compiled, (zero,), [(x,) for x in xs])[0] == 15
        if not interrupt_at(k, lambda: xp.fold(compiled, (zero,), [(x,) for x in xs[:4]])):
            break
        assert xp.fold(compiled, (zero,), [(xs[k % 5],)])[0] == xs[k % 5]
    assert compiled.report == ""
    assert k > 50


def test_what_was_made_at_the_recording_is_let_go(xp):
    made = []

    @noting
    def step(xp, p, mean, variance, count, x):
        grad = xp.nn.sigmoid(x)
        made.append(weakref.ref(grad))
        return *xp.nn.adam_step(p, grad, mean, variance, count + 1, 0.1, 0.9, 0.99, 1e-3), count + 1

    carry = *(numpy.full((3, 4), i, numpy.float32) for i in range(3)), 0
    gc.disable()
    try:
        compiled = xp.compile(step)
        xp.fold(compiled, carry, [(numpy.full((3, 4), i, numpy.float32),) for i in range(4)])
        assert compiled.report == ""
        assert [reference() for reference in made] == [None, None]
    finally:
        gc.enable()


def test_what_was_carried_is_let_go(xp, monkeypatch):
    made, alive = [], []

    def noting(*args):
        carry = xpnet.folding.next_carry(*args)
        made.append(weakref.ref(carry[0]))
        return carry

    def items():
        yield from ((full(i),) for i in range(8))
        alive.extend(reference() is not None for reference in made)

    monkeypatch.setattr(xpnet.replay.replayed, "next_carry", noting)
    compiled = xp.compile(lambda xp, total, x: (xp.nn.accumulate(total, x, 1.0),))
    xp.fold(compiled, (full(0),), items())
    assert compiled.report == ""
    assert alive == [False, False, False]


@pytest.mark.parametrize("wrong", [[1], {"x": 1}, None, "x"])
def test_item_that_is_no_tuple_is_refused_wherever_it_comes(xp, wrong):
    compiled = xp.compile(lambda xp, total, *rest: (xp.nn.accumulate(total, total, 1.0),))
    with pytest.raises(TypeError, match="each of `items` must be a tuple"):
        xp.fold(compiled, (numpy.ones((), numpy.float32),), [()] * 5 + [wrong])
