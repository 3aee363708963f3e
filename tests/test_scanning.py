"""`xp.scan` by its definition, on every library: the loop over rows."""

import collections
import copy
import doctest
import pickle

import numpy as np
import pytest
from checking import assert_close

import xpnet

PLAIN = xpnet.Namespace("plain", np)


@pytest.fixture(params=["plain", "compiled"])
def host(request):
    return PLAIN if request.param == "plain" else xpnet.backend("numpy")


def looped(xp, step, carry, rows, *constants):
    """Return what the definition says."""
    for i in range((rows[0] if isinstance(rows, tuple) else rows).shape[0]):
        row = tuple(x[i, ...] for x in rows) if isinstance(rows, tuple) else rows[i, ...]
        carry = step(xp, *carry, row, *constants)
    return carry


def portable(xp, params, count, total, row, options, shift):
    """A step on any library, which changes an array in place, counts, and makes an array anew."""
    x, weight = row
    total = xp.nn.accumulate(total, xp.sum(x * weight + shift[0]), 0.5)
    x = xp.nn.sigmoid(x) if options["activation"] == "sigmoid" else x
    return {name: xp.nn.sgd_step(p, x, 0.5) for name, p in params.items()}, count + 1, total


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
def test_scan_is_the_loop_on_every_library(xp64, n):
    random = np.random.default_rng(n)
    rows = tuple(xp64.asarray(random.normal(size=shape)) for shape in ((n, 2, 3), (n,)))
    constants = {"activation": "sigmoid", "none": None}, (xp64.asarray(random.normal(size=3)), 7)

    def carry():
        return {"a": xp64.ones((2, 3), dtype=xp64.float64)}, 5, xp64.zeros((), dtype=xp64.float64)

    expected, _, total = looped(xp64, portable, carry(), rows, *constants)
    for step in (portable, xp64.compile(portable)):
        params, count, found = xp64.scan(step, carry(), rows, *constants)
        assert (type(count), count) == (int, 5 + n)
        assert_close(xp64, params["a"], xp64.to_host(expected["a"]))
        assert_close(xp64, found, xp64.to_host(total))


def add(xp, total, count, x):
    return total + x, count + 1


def test_scan_of_no_rows_is_the_carry(host):
    carry = np.zeros(3), 0
    for rows in (np.ones((0, 3)), np.ones((0,), np.uint8), (np.ones((0, 3)), np.ones((0, 5)))):
        assert host.scan(host.compile(add), carry, rows) is carry


def test_rows_of_numbers_are_arrays_without_axes(host):
    shapes = []

    def step(xp, total, x):
        shapes.append((type(x), x.shape))
        return (total + x,)

    (total,) = host.scan(host.compile(step), (np.zeros(()),), np.arange(5.0))
    assert total == 10
    assert {*shapes} == {(np.ndarray, ())}


@pytest.mark.parametrize("rows", [np.ones((5, 0)), np.ones((5, 2, 0), np.uint8)])
def test_rows_may_be_empty(host, rows):
    def step(xp, total, x):
        return (total + xp.sum(x) + 1,)

    assert host.scan(host.compile(step), (np.zeros(()),), rows)[0] == 5


def test_row_of_a_tuple_is_a_tuple(host):
    rows = np.ones((4, 2)), np.arange(4), np.zeros((4, 1, 3), np.uint8)
    seen = []

    def step(xp, total, row):
        seen.append((type(row), *(x.shape for x in row)))
        return (total + xp.sum(row[0]) * row[1],)

    assert host.scan(host.compile(step), (np.zeros(()),), rows)[0] == 12
    assert {*seen} == {(tuple, (2,), (), (1, 3))}
    shapes = []

    def alone(xp, total, row):
        shapes.append((type(row), len(row)))
        return (total + row[0],)

    host.scan(host.compile(alone), (np.zeros(2),), rows[:1])
    assert {*shapes} == {(tuple, 1)}


def test_carry_that_the_step_does_not_change_stays(host):
    carry = np.zeros(3), 0
    total, count = host.scan(host.compile(add), carry, np.ones((6, 3)))
    assert count == 6
    np.testing.assert_array_equal(total, 6)
    np.testing.assert_array_equal(carry[0], 0)


def test_changes_of_shape_and_dtype_between_steps_are_no_mistake(host):
    def step(xp, total, x):
        return (xp.concat([total, x]) if total.shape[0] < 9 else xp.astype(total, xp.float64) + x[0],)

    carry, rows = (np.zeros(3, np.float32),), np.arange(24, dtype=np.float32).reshape(8, 3)
    (found,) = host.scan(host.compile(step), carry, rows)
    (expected,) = looped(host, step, carry, rows)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_error_of_any_step_comes_out(host):
    def step(xp, total, count, x):
        if count == at:
            raise LookupError(f"step {count}")
        return total + x, count + 1

    for at in range(5):
        with pytest.raises(LookupError, match=f"step {at}"):
            host.scan(host.compile(step), (np.zeros(()), 0), np.ones(5))


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ("[total + x]", "list"),
        ("(total + x, x)", "a tuple of 2"),
        ("()", "a tuple of 0"),
        ("total + x", "ndarray"),
        ("Pair(total, x)", "Pair"),
        ("None", "NoneType"),
    ],
)
def test_step_that_does_not_return_a_tuple_like_the_carry_is_refused(host, result, found):
    message = rf"the step must return a tuple like `carry`, which has 1 elements, got {found}"
    Pair = collections.namedtuple("Pair", "total x")
    step = eval(f"lambda xp, total, x: {result}", {"Pair": Pair})
    compiled = host.compile(step)
    for calls in range(4):  # Whether a program of it is trusted or not.
        with pytest.raises(TypeError, match=message):
            host.scan(compiled, (np.zeros(3),), np.ones((4, 3)))
        if calls < 3:
            compiled(host, np.zeros(3), np.ones(3))


Pair = collections.namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("carry", "rows", "error", "message"),
    [
        ([1], np.ones(3), TypeError, "`carry` must be a tuple of arguments of the step, got list"),
        (Pair(1, 2), np.ones(3), TypeError, "`carry` must be a tuple .*, got Pair"),
        ((1,), [1, 2], TypeError, "`rows` must be an array with a row for each step, got list"),
        ((1,), Pair(np.ones(3), np.ones(3)), TypeError, "`rows` must be an array .*, got Pair"),
        ((1,), 3, TypeError, "`rows` must be an array .*, got int"),
        ((1,), None, TypeError, "`rows` must be an array .*, got NoneType"),
        ((1,), np.ndarray, TypeError, "`rows` must be an array .*, got type"),
        ((1,), {"x": np.ones(3)}, TypeError, "`rows` must be an array .*, got dict"),
        ((1,), iter([np.ones(3)]), TypeError, "`rows` must be an array .*, got list_iterator"),
        ((1,), (np.ones(3), [1, 2, 3]), TypeError, r"`rows\[1\]` must be an array .*, got list"),
        ((1,), (np.ones(3), (np.ones(3),)), TypeError, r"`rows\[1\]` must be an array .*, got tuple"),
        ((1,), (), ValueError, "`rows` is an empty tuple; pass an array, or a tuple of arrays"),
        ((1,), np.ones(()), ValueError, r"`rows` must have a row for each step, but it .* shape \(\)"),
        ((1,), np.float32(1), ValueError, r"`rows` must have a row for each step, but it .* shape \(\)"),
        ((1,), (np.ones(3), np.int8(1)), ValueError, r"`rows\[1\]` must have a row for each step"),
        ((1,), (np.ones(3), np.ones((4, 3))), ValueError, r"as many rows as each other, got \[3, 4\]"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(host, carry, rows, error, message):
    def step(xp, x, row):
        raise AssertionError("the step was called")

    for function in (step, host.compile(step)):
        with pytest.raises(error, match=message):
            host.scan(function, carry, rows)


def test_step_must_be_callable(host):
    with pytest.raises(TypeError):
        host.scan("x", (1,), np.ones(3))


def test_step_compiled_by_another_namespace_runs_on_this_one(host):
    names = []

    def step(xp, total, x):
        names.append(xp.name)
        return (xp.nn.accumulate(total, x, 1.0),)

    other = xpnet.backend("numpy") if host is PLAIN else PLAIN.with_functions(PLAIN.nn)
    assert host.scan(other.compile(step), (np.zeros(()),), np.arange(5.0))[0] == 10
    assert names == [host.name] * 5


def test_copied_and_pickled_steps_scan_like_the_step(host):
    step = host.compile(add)
    rows = np.arange(12.0).reshape(6, 2)
    expected = host.scan(step, (np.zeros(2), 0), rows)
    twins = [copy.copy(step), copy.deepcopy(step)]
    if host is not PLAIN:  # A namespace that `xpnet.backend` did not return cannot be pickled.
        twins.append(pickle.loads(pickle.dumps(step)))
    for twin in twins:
        total, count = host.scan(twin, (np.zeros(2), 0), rows)
        assert count == 6
        np.testing.assert_array_equal(total, expected[0])


def test_example_of_the_docstring_runs():
    (example,) = doctest.DocTestFinder(recurse=False).find(xpnet.Namespace.scan, globs={})
    assert doctest.DocTestRunner().run(example) == (0, 6)
