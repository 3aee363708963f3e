"""Scans of compiled steps, beside the loops that they stand for."""

import itertools
import threading
from unittest import mock

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import FACTOR, assert_same, copied, make_arguments, noting
from test_replayed_folds import interrupt_at

import xpnet
import xpnet.replay.program
from xpnet.folding import items_of, length_of, row_of


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def looped(xp, step, carry, rows, constants=()):
    """Return what a plain loop makes of copies."""
    carry, constants = copied(carry), copied(constants)
    for i in range(length_of(rows)):
        carry = step(xp, *carry, row_of(rows, i), *constants)
    return carry


def bits(tree):
    """Return a tree with the bytes of its arrays."""
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [bits(value) for value in tree]
    return (tree.dtype, tree.shape, tree.tobytes()) if isinstance(tree, numpy.ndarray) else tree


def assert_scans(xp, step, carry, rows, *constants, compiled=None, factor=FACTOR):
    """Compare a scan with a loop, and return the compiled step."""
    compiled = compiled or xp.compile(step)
    expected = looped(xp, step, carry, rows, constants)
    found = xp.scan(compiled, copied(carry), rows, *copied(constants))
    assert_same(found, expected, factor=factor)
    return compiled


def assert_scans_like_a_fold(xp, step, carry, rows, *constants):
    """Compare scans with loops, and with folds to the last bit; return the compiled steps."""
    scanned, folded = xp.compile(step), xp.compile(step)
    for _ in range(3):
        expected = looped(xp, step, carry, rows, constants)
        found = xp.scan(scanned, copied(carry), rows, *copied(constants))
        other = xp.fold(folded, copied(carry), items_of(rows, copied(constants)))
        assert_same(found, expected, factor=FACTOR)
        assert bits(found) == bits(other)
    assert scanned.report == folded.report
    return scanned


def mixed(xp, a, x):
    """Return a new array, by functions that a backend has code of its own for."""
    return xp.nn.sigmoid_backward(xp.nn.sigmoid(a), x)


@pytest.fixture
def loops():
    """What holds the numbers of steps that programs were given at once."""
    made, loop = [], xpnet.replay.program.Loop

    def noting(steps, *args):
        made.append(steps)
        return loop(steps, *args)

    with mock.patch.object(xpnet.replay.program, "Loop", noting):
        yield made


def training(xp, params, state, total, number, batch, images, labels, name):
    """A step with Adam, dropout and a schedule; its number is an argument."""
    x = xp.nn.gather_batch(images, batch, scale=1 / 255, offset=0.0, dtype=xp.float32)
    outputs, pullback = MODEL(xp, params, x, stream=STREAM.at(number))
    loss, d_outputs = xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels["labels"], batch))
    _, grads = pullback(d_outputs, input_gradient=False)
    optimizer = OPTIMIZERS[name]
    params, state = optimizer(xp, params, grads, state)
    return params, state, xp.nn.accumulate(total, loss, 0.5), number + 1


MODEL = xpnet.Sequential(xpnet.Linear(29, 17), xpnet.Tanh(), xpnet.Dropout(0.3), xpnet.Linear(17, 3))
STREAM = xpnet.Stream(0, "dropout")
OPTIMIZERS = {
    "adam": xpnet.Adam(xpnet.schedules.Cosine(0.01, steps=40), eps=1e-3),
    "momentum": xpnet.Momentum(xpnet.schedules.Cosine(0.1, steps=40)),
    "sgd": xpnet.SGD(0.1),
}


def make_training(xp, name, *, batch=8, steps=5, seed=0):
    """Return carry, rows and constants of such steps."""
    _, images, labels, _ = make_arguments(seed=seed)
    random = numpy.random.default_rng(seed)
    params = MODEL.init(xp, seed)
    state = OPTIMIZERS[name].init(xp, params)
    rows = random.integers(0, 37, (steps, batch)).astype(numpy.int32)
    total = numpy.zeros((), numpy.float32)
    return (params, state, total, 1), rows, images, {"labels": labels, "none": None}, name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_scanned_like_a_fold(xp, name, loops):
    compiled = assert_scans_like_a_fold(xp, training, *make_training(xp, name, steps=6))
    assert compiled.report == ""
    assert loops == [4, 6, 6]  # The first two steps are recorded and tried.


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 40])
def test_any_number_of_steps_is_scanned(xp, steps, loops):
    compiled = None
    for _ in range(3):
        compiled = assert_scans(
            xp, training, *make_training(xp, "adam", steps=steps), compiled=compiled, factor=20 * FACTOR
        )
    assert compiled.report == ""
    assert loops == {0: [], 1: [1], 2: [2, 2], 3: [1, 3, 3], 40: [38, 40, 40]}[steps]


def test_one_scan_after_another_begins_with_its_own_carry(xp):
    compiled = None
    for seed in (0, 1, 0, 2):
        compiled = assert_scans(xp, training, *make_training(xp, "momentum", seed=seed), compiled=compiled)
    assert compiled.report == ""


def test_scans_go_on_with_what_the_one_before_returned(xp):
    """In chunks of any length, the bits are those of one scan."""
    carry, rows, *constants = make_training(xp, "adam", steps=23)
    found = []
    for ends in ([], [1, 2, 3, 4], [2, 10, 11, 12], [5, 5, 22]):
        compiled, chunk = xp.compile(training), copied(carry)
        for begin, end in itertools.pairwise([0, *ends, 23]):
            chunk = xp.scan(compiled, chunk, rows[begin:end], *constants)
        found.append(bits(chunk))
        assert compiled.report == ""
    assert found[1:] == found[:-1]


def test_what_a_scan_returned_stays_if_the_step_makes_it_anew(xp):
    def step(xp, total, x):
        return (xp.nn.accumulate(total, x, 1.0),)

    compiled, rows = xp.compile(step), numpy.ones(6, numpy.float32)
    first = numpy.zeros((), numpy.float32)
    totals = [first]
    for _ in range(4):
        totals += xp.scan(compiled, (totals[-1],), rows)
        xp.scan(compiled, (first,), 7 * rows)
    for i, total in enumerate(totals):
        numpy.testing.assert_array_equal(total, 6 * i)


def test_many_shapes_in_turns(xp, loops):
    compiled = None
    for _ in range(2):
        for batch, steps in [(8, 4), (3, 4), (1, 1), (8, 2), (5, 3)]:
            compiled = assert_scans(
                xp, training, *make_training(xp, "sgd", batch=batch, steps=steps), compiled=compiled
            )
    assert compiled.report == ""
    assert loops == [2, 2, 2, 1, 4, 4, 2, 3]


def test_more_shapes_than_are_kept(xp):
    def step(xp, total, x):
        return (mixed(xp, total, x),)

    compiled = None
    for _, n in itertools.product(range(2), range(1, 15)):
        carry, rows = (numpy.zeros(n, numpy.float32),), numpy.ones((4, n), numpy.float32)
        compiled = assert_scans(xp, step, carry, rows, compiled=compiled)
    assert compiled.report.startswith("the shapes of the arguments change too often")


def numbers(*shape, dtype="float32"):
    random = numpy.random.default_rng(sum(shape))
    return (
        random.normal(size=shape).astype(dtype)
        if numpy.dtype(dtype).kind == "f"
        else (random.integers(0, 100, shape).astype(dtype))
    )


def misaligned(x):
    raw = numpy.zeros(x.nbytes + 1, numpy.uint8)
    raw[1:] = numpy.frombuffer(numpy.ascontiguousarray(x).tobytes(), numpy.uint8)
    return raw[1:].view(x.dtype).reshape(x.shape)


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def of_a_record(x):
    """Return rows with other numbers between them, so that strides are not multiples of an element."""
    records = numpy.zeros(len(x), [("flag", numpy.uint8), ("x", x.dtype, x.shape[1:])])
    records["x"] = x
    return records["x"]


# Which rows these leave stored row by row, so that they are replayed.
LAYOUTS = {
    "as it is": lambda x: x,
    "every other": lambda x: numpy.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1],
    "the same": lambda x: numpy.broadcast_to(x[:1], x.shape),
    "a window": lambda x: numpy.lib.stride_tricks.as_strided(
        x, x.shape, (x.itemsize * (x.ndim > 1) or x.strides[0], *x.strides[1:]), writeable=False
    ),
    "read-only": frozen,
    "misaligned": misaligned,
    "of a record": of_a_record,
}
NOT_BY_ROW = {
    "transposed": lambda x: x.copy("F"),
    "strided": lambda x: numpy.repeat(x, 2, axis=-1)[..., ::2],
    "reversed in a row": lambda x: x[..., ::-1],
}


def sums(xp, params, total, row, c):
    """A step that reads a row of a matrix, in place and anew, and rows of numbers."""
    x, label, index = row
    params = xp.nn.sgd_step(params, x, 0.5)
    y = xp.nn.linear(params, c["weight"], c["bias"])
    loss, _ = xp.nn.softmax_cross_entropy(y, xp.nn.gather_labels(c["labels"], index))
    return params, xp.nn.accumulate(xp.nn.accumulate(total, loss, 1.0), label, 2.0)


def make_sums(n=6):
    rows = numbers(n, 4, 3), numbers(n), numbers(n, 4, dtype="int32") % 5
    labels = numpy.arange(5, dtype=numpy.int32) % 2
    constants = {"weight": numbers(3, 2), "bias": numbers(2), "labels": labels, "text": "x", "one": (1, None)}
    return (numbers(4, 3), numpy.zeros((), numpy.float32)), rows, constants


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_lie_anywhere(xp, layout, loops):
    carry, rows, constants = make_sums()
    for place in (*range(3), slice(None)):
        found = [*rows]
        found[place] = (
            [*map(LAYOUTS[layout], rows[place])] if place == slice(None) else LAYOUTS[layout](rows[place])
        )
        loops.clear()
        compiled = assert_scans_like_a_fold(xp, sums, carry, tuple(found), constants)
        assert compiled.report == ""
        assert loops == [4, 6, 6]


@pytest.mark.parametrize("layout", NOT_BY_ROW)
def test_rows_that_are_not_stored_row_by_row_run_as_written(xp, layout):
    carry, (x, *others), constants = make_sums()
    compiled = assert_scans_like_a_fold(xp, sums, carry, (NOT_BY_ROW[layout](x), *others), constants)
    assert "is not stored row by row (C-contiguous); only such calls run" in compiled.report
    assert_scans(xp, sums, carry, (x, *others), constants, compiled=compiled)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "int32", "float32", "float64", "bool"])
def test_rows_have_any_dtype(xp, dtype):
    def step(xp, total, row, images):
        x, index = row
        y = xp.nn.gather_batch(x, index, scale=0.5, offset=1.0, dtype=xp.float32)
        z = xp.nn.gather_batch(images, index, scale=0.5, offset=1.0, dtype=xp.float32)
        return (mixed(xp, mixed(xp, total, y), z),)

    rows = numbers(6, 5, 3, dtype=dtype), numbers(6, 2, dtype="int64") % 5
    carry = (numpy.zeros((2, 3), numpy.float32),)
    assert_scans_like_a_fold(xp, step, carry, rows, numbers(5, 3, dtype=dtype))


def test_values_of_any_origin_are_carried(xp):
    a, b, c = numbers(2, 3), numbers(3, 2).reshape(2, 3), numpy.zeros((2, 3), numpy.float32)
    rows = numbers(7, 2, 3)
    steps = {
        "swapped": lambda xp, a, b, x: (xp.nn.sgd_step(b, x, 0.5), a),
        "turned": lambda xp, a, b, c, x: (b, c, xp.nn.sgd_step(a, x, 0.5)),
        "made and moved": lambda xp, a, b, x: (b, mixed(xp, a, x)),
        "both made": lambda xp, a, b, x: (mixed(xp, b, x), xp.nn.sigmoid(a)),
        "passed on": lambda xp, a, b, x: (a, mixed(xp, b, a)),
        "row": lambda xp, a, b, x: (x, mixed(xp, b, a)),
        "row, changed": lambda xp, a, b, x: (xp.nn.sgd_step(x, a, 0.5), b),
        "changed and dropped": lambda xp, a, b, x: (xp.nn.sigmoid(xp.nn.sgd_step(a, x, 0.5)), b),
        "all passed on": lambda xp, a, b, x: (a, b),
        "nothing": lambda xp, x: (),
        "constant": lambda xp, a, b, x, c: (mixed(xp, a, x), c),
    }
    for name, step in steps.items():
        count = step.__code__.co_argcount - 2 - (name == "constant")
        constants = (c,) if name == "constant" else ()
        compiled = xp.compile(step)
        for _ in range(3):
            expected = looped(xp, step, (a, b, c)[:count], rows.copy(), constants)
            found = xp.scan(compiled, copied((a, b, c)[:count]), rows.copy(), *copied(constants))
            assert_same(found, expected, factor=FACTOR)


def test_value_in_two_places_of_the_result(xp):
    def step(xp, a, b, x):
        a = mixed(xp, a, x)
        return a, a

    carry = numbers(2, 3), numbers(2, 3)
    compiled = xp.compile(step)
    for _ in range(4):
        expected = looped(xp, step, carry, numbers(5, 2, 3))
        assert_same(xp.scan(compiled, copied(carry), numbers(5, 2, 3)), expected, factor=FACTOR)


def test_counts_are_carried_and_passed_on(xp):
    def step(xp, p, mean, variance, counts, done, x, k):
        count = counts["step"] + 1
        p, mean, variance = xp.nn.adam_step(p, x, mean, variance, count, 0.1, 0.9, 0.99, 1e-3)
        return p, mean, variance, {"step": count, "same": counts["same"]}, (done[0] + 3, None, "x", True)

    carry = (
        numbers(2, 3),
        *numpy.zeros((2, 2, 3), numpy.float32),
        {"step": 0, "same": 7},
        (1, None, "x", True),
    )
    compiled = assert_scans_like_a_fold(xp, step, carry, numbers(6, 2, 3), 4)
    *_, counts, done = xp.scan(compiled, copied(carry), numbers(6, 2, 3), 4)
    assert compiled.report == ""
    assert (counts, done) == ({"step": 6, "same": 7}, (19, None, "x", True))
    assert {type(n) for n in counts.values()} == {int}


def test_counts_that_change_places_are_right(xp):
    def step(xp, total, i, j, x, k):
        return mixed(xp, total, x), j, i + 2

    compiled = assert_scans_like_a_fold(xp, step, (numbers(3), 0, 5), numbers(7, 3), 9)
    assert xp.scan(compiled, (numbers(3), 0, 5), numbers(7, 3), 9)[1:] == (11, 8)

    def taking(xp, total, i, x, k):
        return mixed(xp, total, x), k

    compiled = assert_scans_like_a_fold(xp, taking, (numbers(3), 0), numbers(7, 3), 9)
    assert xp.scan(compiled, (numbers(3), 0), numbers(7, 3), 9)[1] == 9


def changes_its_row(xp, total, x):
    x = xp.nn.sgd_step(x, xp.nn.sigmoid(total), 0.5)
    return (mixed(xp, total, x),)


@pytest.mark.parametrize("layout", ["as it is", "every other", "backwards", "misaligned"])
def test_rows_may_be_changed_in_place(xp, layout, loops):
    """A program is not given a loop for them."""
    compiled = xp.compile(changes_its_row)
    for _ in range(3):
        expected = looped(xp, changes_its_row, (numbers(2, 3),), LAYOUTS[layout](numbers(6, 2, 3)))
        found = xp.scan(compiled, (numbers(2, 3),), LAYOUTS[layout](numbers(6, 2, 3)))
        assert_same(found, expected, factor=FACTOR)
    assert compiled.report == ""
    assert loops == []


def trusted(xp, step, *args):
    """Return a compiled step that was called until its program was trusted."""
    compiled = xp.compile(step)
    for _ in range(3):
        compiled(xp, *copied(args))
    assert compiled.report == ""
    return compiled


def in_place(xp, p, total, x, c):
    p = xp.nn.sgd_step(p, xp.nn.sigmoid(x), 0.5)
    return p, mixed(xp, mixed(xp, total, x), c)


def test_rows_that_share_memory_with_what_is_changed_run_as_written(xp):
    def make(kind):
        memory, other = numbers(7, 2, 3), numbers(2, 3)
        return {
            "the last row": (memory[6], other, memory, other + 1),
            "the last row, backwards": (memory[6], other, memory[::-1], other + 1),
            "no row, but between them": (memory[3], other, memory[::2], other + 1),
            "the constant": (memory[3], other, numbers(6, 2, 3), memory[3]),
            "another row": (memory[6], other, memory[:4], other + 1),
        }[kind]

    for kind in ("the last row", "the last row, backwards", "no row, but between them", "the constant"):
        compiled = trusted(xp, in_place, *(numbers(2, 3) + i for i in range(4)))
        p, total, rows, c = make(kind)
        found = xp.scan(compiled, (p, total), rows, c)
        p, total, rows, c = make(kind)
        carry = p, total
        for row in rows:
            carry = in_place(xp, *carry, row, c)
        assert_same(found, carry, factor=FACTOR)
        assert "share memory" in compiled.report
    compiled = trusted(xp, in_place, *(numbers(2, 3) + i for i in range(4)))
    p, total, rows, c = make("another row")
    xp.scan(compiled, (p, total), rows, c)
    assert compiled.report == ""


def test_rows_of_another_dtype_that_share_memory_with_what_is_changed_run_as_written(xp):
    def step(xp, p, row, indices):
        return (
            xp.nn.sgd_step(p, xp.nn.gather_batch(row, indices, scale=0.1, offset=0.0, dtype=xp.float32), 0.5),
        )

    def given():
        memory = numpy.arange(160, dtype="uint8").reshape(10, 4, 4)
        memory[4:8].view("float32")[:] = 1.5
        return memory[4:8].view("float32").reshape(4, 4), memory

    indices = numpy.arange(4, dtype="int32")
    compiled = trusted(xp, step, numbers(4, 4), given()[1][0], indices)
    (p, rows), (again, others) = given(), given()
    found = xp.scan(compiled, (p,), rows, indices)
    expected = (again,)
    for row in others:
        expected = step(xp, *expected, row, indices)
    assert_same(found, expected, factor=FACTOR)
    assert "share memory" in compiled.report


def test_rows_that_are_changed_and_share_memory_run_as_written(xp):
    def step(xp, total, row):
        x, y = row
        x = xp.nn.sgd_step(x, xp.nn.sigmoid(total), 0.5)
        return (mixed(xp, mixed(xp, total, x), y),)

    def there_and_back():
        x = numbers(6, 2, 3)
        return x, x[::-1]

    def windows():
        x = numbers(30)
        return numpy.lib.stride_tricks.as_strided(x, (6, 2, 3), (4, 12, 4)), numbers(6, 2, 3)

    for make in (there_and_back, windows):
        compiled = trusted(xp, step, numbers(2, 3), (numbers(2, 3), numbers(2, 3)))
        found = xp.scan(compiled, (numbers(2, 3),), make())
        assert_same(found, looped(xp, step, (numbers(2, 3),), make()), factor=FACTOR)
        assert compiled.report.startswith(
            "the rows of a scan share memory with an array that the step changes"
        )


def test_rows_share_memory_with_each_other_and_with_what_stays(xp, loops):
    def step(xp, p, total, row, images):
        x, y = row
        return xp.nn.sgd_step(p, x, 0.5), mixed(xp, mixed(xp, total, y), images)

    rows = numbers(6, 2, 3)
    compiled = assert_scans_like_a_fold(
        xp, step, (numbers(2, 3), numbers(2, 3) + 1), (rows, rows), numbers(2, 3)
    )
    assert compiled.report == ""
    expected = looped(xp, step, (numbers(2, 3), numbers(2, 3)), (rows, rows[::-1]), (rows[3],))
    found = xp.scan(compiled, (numbers(2, 3), numbers(2, 3)), (rows, rows[::-1]), rows[3])
    assert_same(found, expected, factor=FACTOR)
    assert compiled.report == ""
    assert loops == [4, 6, 6, 6]


def test_array_in_two_places_of_the_arguments_is_found(xp):
    x, rows = numbers(2, 3), numbers(5, 2, 3)
    compiled = trusted(xp, in_place, *(numbers(2, 3).copy() for _ in range(4)))
    found = xp.scan(compiled, (numbers(2, 3), x), rows, x)
    expected = looped(xp, in_place, (numbers(2, 3), x), rows, (x,))
    assert_same(found, expected, factor=FACTOR)


def test_carry_of_any_form_is_taken(xp):
    """What a caller gives is changed only where the step changes it."""
    given = numbers(2, 3), numbers(2, 3) + 1
    for form in (numpy.array, misaligned, frozen):
        total = form(given[1])
        carry = given[0].copy(), total
        compiled = trusted(xp, in_place, *(numbers(2, 3).copy() for _ in range(4)))
        expected = looped(xp, in_place, given, numbers(5, 2, 3), (given[0],))
        assert_same(xp.scan(compiled, carry, numbers(5, 2, 3), given[0]), expected, factor=FACTOR)
        numpy.testing.assert_array_equal(total, given[1])
        assert compiled.report == ""


def test_step_that_reads_values_runs_as_written(xp):
    def step(xp, total, x):
        return (xp.nn.accumulate(total, x, float(x[0])),)

    compiled = assert_scans(xp, step, (numbers(3),), numbers(6, 3))
    assert "reads a value on the host" in compiled.report
    assert_scans(xp, step, (numbers(3),), numbers(6, 3), compiled=compiled)


def whole(xp, total, mean, row, c):
    x, k = row
    y = xp.concat([x, x + c], axis=0) * k
    return total + xp.sum(xp.nn.relu(y)), xp.where(x > 0, mean, x - xp.mean(y))


def test_step_that_calls_the_library_is_scanned(xp, loops):
    carry = numpy.zeros((), numpy.float32), numbers(2, 3)
    compiled = assert_scans_like_a_fold(xp, whole, carry, (numbers(6, 2, 3), numbers(6)), numbers(2, 3))
    assert compiled.report == ""
    assert loops == [4, 6, 6]


def test_changes_of_what_a_step_reads_take_effect_at_the_next_scan(xp):
    rate = [1.0]

    def step(xp, total, x):
        return (xp.nn.accumulate(total, x, rate[0]),)

    compiled, rows = xp.compile(step), numpy.ones(6, numpy.float32)
    for rate[0] in (1.0, 2.0, 3.0):
        (total,) = xp.scan(compiled, (numpy.zeros((), numpy.float32),), rows)
        assert total == 6 * rate[0]
    assert compiled.report == ""
    for rate[0] in range(30):
        (total,) = xp.scan(compiled, (numpy.zeros((), numpy.float32),), rows[:1])
        assert total == rate[0]
    assert "changes from call to call" in compiled.report


def test_what_a_schedule_changes_in_a_scan_has_taken_effect_at_the_next_scan(xp):
    weight = [1.0]

    def rate(number):
        if number == 20:
            weight[0] = 2.0
        return 0.5

    optimizer = xpnet.SGD(rate)

    def step(xp, params, state, total, grad):
        return *optimizer(xp, params, {"p": grad}, state), xp.nn.accumulate(total, grad[0, ...], weight[0])

    def scanned(n):
        carry = {"p": numpy.zeros(3, numpy.float32)}, {"step": 0}, numpy.zeros((), numpy.float32)
        return xp.scan(compiled, carry, numpy.ones((n, 3), numpy.float32))[2]

    compiled = xp.compile(step)
    assert 40 <= scanned(40) <= 61  # The loop uses the new weight in its last 20 or 21 steps.
    assert scanned(10) == 20
    assert compiled.report == ""


def test_scan_within_a_scan_and_a_fold(xp):
    def inner(xp, total, x):
        return (mixed(xp, total, x),)

    compiled = xp.compile(inner)

    def outer(xp, total, rows):
        return xp.scan(compiled, (total,), rows)

    def folding(xp, total, rows):
        return xp.fold(compiled, (total,), ((rows[i, ...],) for i in range(rows.shape[0])))

    for step in (outer, folding):
        assert assert_scans(xp, step, (numbers(3),), numbers(6, 4, 3)).report == ""
    found = xp.fold(xp.compile(outer), (numbers(3),), [(numbers(4, 3),)] * 5)
    assert_same(found, looped(xp, outer, (numbers(3),), numpy.stack([numbers(4, 3)] * 5)), factor=FACTOR)


def test_step_that_scans_itself_is_right(xp):
    def step(xp_, total, x):
        if x.ndim == 1:
            return (xp_.nn.accumulate(total, x, 1.0),)
        return xp.scan(compiled, (total,), x)

    compiled = xp.compile(step)
    for _ in range(2):
        (total,) = xp.scan(compiled, (numpy.zeros(2, numpy.float32),), numpy.ones((5, 4, 2), numpy.float32))
        numpy.testing.assert_array_equal(total, 20)


def test_step_may_be_scanned_by_threads(xp):
    carry, rows, *constants = make_training(xp, "adam", steps=30)
    compiled = xp.compile(training)
    expected = looped(xp, training, carry, rows, constants)
    start, found = threading.Barrier(3), []

    def scan():
        start.wait()
        found.extend(xp.scan(compiled, copied(carry), rows, *constants) for _ in range(5))

    threads = [threading.Thread(target=scan) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 15
    for result in found:
        assert_same(result, expected, factor=20 * FACTOR)
    assert compiled.report == ""


def test_scan_of_a_step_that_another_thread_folds_runs_as_written(xp):
    def step(xp, total, x):
        return (xp.nn.accumulate(total, x, 1.0),)

    compiled, rows = xp.compile(step), numpy.ones((5, 3), numpy.float32)
    found = []

    def items():
        for row in rows:
            thread = threading.Thread(
                target=lambda: found.extend(xp.scan(compiled, (numpy.zeros(3, numpy.float32),), rows))
            )
            thread.start()
            thread.join()
            yield (row,)

    xp.fold(compiled, (numpy.zeros(3, numpy.float32),), items())
    numpy.testing.assert_array_equal(found, numpy.full((5, 3), 5))


def test_scan_after_an_error_is_right(xp):
    carry, rows, *constants = make_training(xp, "momentum", steps=6)
    compiled = assert_scans(xp, training, carry, rows, *constants)
    if xp.name == "numpy":
        wrong = rows.copy()
        wrong[4] = 99
        with pytest.raises(IndexError):
            xp.scan(compiled, copied(carry), wrong, *constants)
    with pytest.raises(TypeError):
        xp.scan(compiled, carry[:2], rows, *constants)
    assert_scans(xp, training, carry, rows, *constants, compiled=compiled)


def test_error_of_a_schedule_comes_out_at_its_step(xp):
    @noting
    def rate(step):
        if step == failing:
            raise LookupError(f"step {step}")
        return 0.5

    def step(xp, p, number, x):
        return xp.nn.sgd_step(p, x, xpnet.schedules.Cosine(0.5, steps=9)(number)), number + 1

    compiled = xp.compile(step)
    failing = 0
    carry = numbers(3), 1
    assert_scans(xp, step, carry, numbers(6, 3), compiled=compiled)
    assert compiled.report == ""
    for failing in (1, 2, 3, 6):
        with (
            mock.patch.object(xpnet.schedules.Cosine, "_rate", lambda self, n: rate(n + 1)),
            pytest.raises(LookupError, match=f"step {failing}"),
        ):
            xp.scan(compiled, copied(carry), numbers(6, 3))
        assert_scans(xp, step, carry, numbers(6, 3), compiled=compiled)


def test_scan_after_an_interruption_is_right(xp):
    def step(xp, p, total, count, x):
        return xp.nn.sgd_step(p, x, -1.0), xp.nn.accumulate(total, x, 1.0), count + 1

    def scan(rows):
        p, total, count = xp.scan(compiled, (zero.copy(), zero, 0), rows)
        return float(p), float(total), count

    compiled, zero, rows = xp.compile(step), numpy.zeros((), numpy.float32), numpy.ones(5, numpy.float32)
    for k in itertools.count(1):
        assert scan(rows) == (5, 5, 5)
        if not interrupt_at(k, lambda: scan(rows)):
            break
        assert scan(rows[:1] * k) == (k, k, 1)
    assert compiled.report == ""
    assert k > 50


def test_interruption_of_a_step_as_written_comes_out(xp):
    @noting
    def step(xp, total, count, x):
        if count == 2:
            raise KeyboardInterrupt
        return total + float(x[0]), count + 1

    compiled = xp.compile(step)
    with pytest.raises(KeyboardInterrupt):
        xp.scan(compiled, (numbers(3), 0), numbers(5, 3))
    assert xp.scan(compiled, (numbers(3), 3), numbers(5, 3))[1] == 8


FORMS = st.tuples(
    st.sampled_from([(), (2, 3), (0,), (1,), (70,)]),
    st.sampled_from(["float32", "float64", "uint8", "int64"]),
    st.sampled_from(sorted(LAYOUTS)),
)


@st.composite
def scans(draw):
    """Return a drawn step, a carry, lengths of scans, forms of rows, and whether they are a tuple."""
    shape = draw(st.sampled_from([(), (2, 3), (70,)]))
    kinds = draw(st.lists(st.sampled_from(["made", "changed", "passed", "count", "anew"]), max_size=4))
    order = draw(st.permutations(range(len(kinds)))) if draw(st.booleans()) else [*range(len(kinds))]
    forms = [(shape, "float32", draw(st.sampled_from(sorted(LAYOUTS)))), *draw(st.lists(FORMS, max_size=2))]
    is_tuple = len(forms) > 1 or draw(st.booleans())

    def step(xp, *args):
        carry, row = args[: len(kinds)], args[len(kinds)]
        x, found = row[0] if is_tuple else row, []
        for i, (kind, value) in enumerate(zip(kinds, carry, strict=True), 1):
            if kind == "made":
                value = mixed(xp, value, x)
            elif kind == "changed":
                value = xp.nn.sgd_step(value, xp.nn.sigmoid(x), i / 4, weight_decay=0.25)
            elif kind == "count":
                value = value + i
            elif kind == "anew":
                value = xp.nn.sigmoid(x) if i % 2 else mixed(xp, args[-1], x)
            found.append(value)
        return tuple(found[i] for i in order)

    carry = tuple(
        5 if kind == "count" else numpy.full(shape, i, numpy.float32) for i, kind in enumerate(kinds)
    )
    lengths = [
        (draw(st.integers(0, 7)), i > 0 and draw(st.booleans())) for i in range(draw(st.integers(1, 5)))
    ]
    return step, carry, lengths, forms, is_tuple


@settings(max_examples=60, deadline=None)
@given(drawn=scans())
def test_drawn_steps_are_scanned_like_folds(replaying, drawn):
    """Scans begin with the same carry, or go on with what the one before returned."""
    xp, (step, carry, lengths, forms, is_tuple) = replaying, drawn
    scanned, folded, constant = xp.compile(step), xp.compile(step), numbers(*forms[0][0])
    for n, goes_on in lengths:
        found = [LAYOUTS[layout](numbers(n, *shape, dtype=dtype)) for shape, dtype, layout in forms]
        rows = tuple(found) if is_tuple else found[0]
        if not goes_on:
            result, other = copied(carry), copied(carry)
        expected = looped(xp, step, result, rows, (constant,))
        result = xp.scan(scanned, result, rows, constant)
        other = xp.fold(folded, other, items_of(rows, (constant,)))
        assert_same(result, expected, factor=FACTOR)
        assert bits(result) == bits(other)
