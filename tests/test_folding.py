import numpy as np
import pytest
from checking import assert_close

import xpnet

PLAIN = xpnet.Namespace("plain", np)


def add(xp, total, count, x):
    return total + x, count + 1


@pytest.fixture(params=["plain", "compiled"])
def xp(request):
    return PLAIN if request.param == "plain" else xpnet.backend("numpy")


def test_fold_passes_on_what_the_step_returned(xp):
    step = xp.compile(add)
    assert xp.fold(step, (1.0, 0), ((x,) for x in (2.0, 3.0))) == (6.0, 2)


def test_fold_of_no_items_is_the_carry(xp):
    carry = 1.0, 0
    assert xp.fold(xp.compile(add), carry, []) is carry


def test_items_are_taken_one_by_one(xp):
    taken, seen = [], []

    def items():
        for x in range(3):
            taken.append(x)
            yield (x,)

    def step(xp, last, x):
        seen.append(list(taken))
        return (x,)

    assert xp.fold(xp.compile(step), (None,), items()) == (2,)
    assert seen == [[0], [0, 1], [0, 1, 2]]


@pytest.mark.parametrize(
    ("carry", "items", "message"),
    [
        ([1, 2], [(3,)], r"`carry` must be a tuple of arguments of the step, got list"),
        ((1, 2), [[3]], r"each of `items` must be a tuple of arguments of the step, got list"),
        ((1, 2), [(3,)] * 5 + [[3]], r"each of `items` must be a tuple of arguments of the step, got list"),
        ([1, 2], [], r"`carry` must be a tuple of arguments of the step, got list"),
        ((1, 2), [np.ones(1)], r"each of `items` must be .*, got ndarray"),
        ((1,), [(2, 3)], r"the step must return a tuple like `carry`, .* 1 elements, got a tuple of 2"),
    ],
)
def test_carry_and_items_that_are_not_tuples_are_refused(xp, carry, items, message):
    with pytest.raises(TypeError, match=message):
        xp.fold(xp.compile(add), carry, items)


def test_step_that_does_not_return_a_tuple_is_refused(xp):
    with pytest.raises(TypeError, match=r"must return a tuple like `carry`, .* got ndarray"):
        xp.fold(xp.compile(lambda xp, a, b: xp.nn.relu(a)), (np.ones(2),), [(1,)])


def test_portable_step_is_folded_on_every_library(xp64):
    def step(xp, total, x):
        return (xp.nn.accumulate(total, xp.sum(x), 0.5),)

    (total,) = xp64.fold(xp64.compile(step), (xp64.zeros(()),), ((xp64.ones((3,)) * i,) for i in range(4)))
    assert_close(xp64, total, np.asarray(9.0), dtype="float64")
