"""Steps of standard functions and operators, of one's own layers, optimizers and losses, are compiled."""

import copy
import dataclasses

import numpy
import pytest
import steps
from parts_of_ones_own import Centred, Lion, Noisy, Scaled, Twice, Unbiased, logistic
from steps import PLAIN, assert_same, assert_trained_alike, make_images, train

import xpnet
from xpnet.batches import Scaling
from xpnet.layer import Unparametrised
from xpnet.losses import LOSSES, OwnLoss
from xpnet.problem import Problem
from xpnet.trainer import Trainer


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def number_of_numpys(xp, x, y):
    total = xp.sum(x)
    total += 1
    return total * numpy.float32(0.5) * x


def views(xp, x, y):
    z = xp.nn.relu(x)
    rows = xp.reshape(z, (-1,))
    return z.T, rows[::2], xp.asarray(z), xp.broadcast_to(y[0], x.shape), xp.nn.tanh(z.T)


STEPS = {
    "operators": lambda xp, x, y: 2 * x + y / 3 - (-x) ** 2 + abs(x // 1) % 2,
    "reflected operators": lambda xp, x, y: (1 - x) / (2**y) + 7 // (1 + abs(x)),
    "products": lambda xp, x, y: (x @ y.T, y.mT @ x, xp.matmul(x.T, y), xp.tensordot(x, y)),
    "comparisons": lambda xp, x, y: xp.where((x > 0) & ~(y <= 0.5) | (x == y), x, 1.0),
    "truth values": lambda xp, x, y: (x > y, xp.any(x > y, axis=0), xp.all(y < 9)),
    "indices": lambda xp, x, y: x[..., 0] + x[:, 1:2, None][:, 0, 0] * y[-1, 2],
    "arrays of indices": lambda xp, x, y: (x[xp.argsort(y[:, 0])], xp.take(x, xp.asarray([1, 0]), axis=1)),
    "methods": lambda xp, x, y: x.sum(axis=0) / y.mean() + x.reshape(-1)[:3] * y.max(0) + x.copy().sum(),
    "dtypes": lambda xp, x, y: (xp.astype(x > 0, x.dtype), x.astype("float64"), xp.astype(y, xp.int32)),
    "new arrays": lambda xp, x, y: xp.ones_like(x) * xp.arange(3, dtype=x.dtype) + xp.eye(4, 3),
    "constants": lambda xp, x, y: x * xp.asarray([1.0, 2.0, 3.0], dtype=x.dtype) + xp.pi,
    "lists of arrays": lambda xp, x, y: (xp.concat([x, y], axis=1), xp.stack((x, y)), [*xp.unstack(x)]),
    "several results": lambda xp, x, y: (xp.linalg.qr(x).Q, *xp.broadcast_arrays(x, y[0])),
    "extensions": lambda xp, x, y: xp.linalg.vector_norm(x, axis=1) + xp.real(xp.fft.rfft(y[0])[0]),
    "reductions": lambda xp, x, y: (xp.max(x, axis=1, keepdims=True), xp.argmax(y, axis=1), xp.std(x)),
    "functions of numpy": lambda xp, x, y: numpy.maximum(x, 0) + numpy.where(x > 0, y, 0) + numpy.sum(y),
    "what is known of arrays": lambda xp, x, y: x / x.shape[0] + len(y) + xp.finfo(x.dtype).eps + x.ndim,
    "types": lambda xp, x, y: x if xp.isdtype(xp.result_type(x, y), "real floating") else y,
    "rows": lambda xp, x, y: sum(row * row for row in x),
    "copies": lambda xp, x, y: copy.copy(x) + copy.deepcopy({"y": y})["y"],
    "functions of nn": lambda xp, x, y: xp.nn.relu_backward(xp.nn.relu(x * 2), y + xp.nn.tanh(x)),
    "a number of numpy's": number_of_numpys,
    "views": views,
    "text": lambda xp, x, y: (x + 1, f"{x!r:.0}{y.shape}"[:0]),
}  # fmt: skip


def calls(dtype="float32"):
    for seed in range(6):
        random = numpy.random.default_rng(seed)
        yield [random.normal(size=(4, 3)).astype(dtype) for _ in range(2)]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_step_of_standard_functions_is_compiled_and_right(xp, name, dtype):
    compiled, found, expected = xp.compile(STEPS[name]), [], []
    for x, y in calls(dtype):
        before = x.copy(), y.copy()
        found.append(compiled(xp, x, y))
        assert_same((x, y), before, dtype=dtype)
        expected.append(STEPS[name](PLAIN, x, y))
    # All at the end, because no result may change later.
    for actual, right in zip(found, expected, strict=True):
        assert_alike(actual, right, dtype)
    assert compiled.report == ""
    assert [*compiled._trusted.values()] in ([3], [4])  # Some are known from the first call on.


def assert_alike(actual, expected, dtype):
    """Compare results, of any dtypes."""
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_alike(a, e, dtype)
    elif type(expected) in (str, float):
        assert actual == expected
    else:
        assert actual.dtype == expected.dtype
        numpy.testing.assert_allclose(actual, expected, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-5)


def test_fold_of_such_a_step_is_right(xp):
    def step(xp, total, count, x):
        return xp.where(x > 0, total + x, total * 0.5), count + 1

    compiled = xp.compile(step)
    items = [(x,) for x, _ in calls()] * 3
    carry = numpy.zeros((4, 3), numpy.float32), 0
    assert_same(xp.fold(compiled, carry, items), PLAIN.fold(step, carry, items))
    assert compiled.report == ""
    assert len(compiled.programs) == 1


def test_such_a_step_is_compiled_for_each_shape_in_one_call(xp):
    compiled = xp.compile(lambda xp, x: x * 2 + 1)
    for size in (3, 3, 4, 5, 4, 5):
        x = numpy.arange(size, dtype=numpy.float32)
        assert_same(compiled(xp, x), x * 2 + 1)
    assert (compiled.report, len(compiled.programs)) == ("", 3)
    assert [*compiled._trusted.values()] == [0, 1, 1]


def test_parameter_that_nn_changes_keeps_its_memory_and_views_of_it_are_copies(xp):
    def step(xp, p, g):
        old = p.T * 1
        new = xp.nn.sgd_step(p, g - xp.mean(g), 0.5)
        return new, old, new.T

    compiled = xp.compile(step)
    p, expected = (numpy.ones((4, 3), numpy.float32) for _ in range(2))
    for _, g in calls():
        p, *found = compiled(xp, p, g)
        expected, *right = steps.copied(step(PLAIN, expected, g))
        assert_same([p, *found], [expected, *right])
    assert compiled.report == ""


def test_state_that_the_step_reaches_takes_effect_when_it_changes(xp):
    rate = [0.5]
    compiled = xp.compile(lambda xp, x, y: x - rate[0] * y)
    for i, (x, y) in enumerate(calls()):
        rate[0] = 0.5 if i < 5 else 0.25
        assert_same(compiled(xp, x, y), x - rate[0] * y)
    assert compiled.report == ""


NUMBERS = {
    "product": lambda xp, n, x: n * x,
    "reflected": lambda xp, n, x: x / n + (n - x),
    "powers": lambda xp, n, x: x * (1 - 0.9**n) / 2 ** (-n / 3),
    "several": lambda xp, n, x: x * (n + 1) + (n * n - abs(3 - n)) / (7 + (n + 2) // 2) % 5,
    "functions": lambda xp, n, x: xp.where(x > n / 4, xp.sqrt(n) * x, xp.asarray(n) + x),
    "steps of nn": lambda xp, n, x: xp.nn.sgd_step(x * 1, x, 0.1 / (n + 1)),
    "an item": lambda xp, n, x: x[n % 4] * 1,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_arithmetic_with_a_whole_number_is_done_anew_in_each_call(xp, name):
    def step(xp, n, x):
        return NUMBERS[name](xp, n, x), n + 1, n / 2

    compiled = xp.compile(step)
    x = numpy.linspace(-1, 1, 12, dtype=numpy.float32).reshape(4, 3)
    for n in (1, 2, 3, 4, 7, 5):
        found, expected = compiled(xp, n, x), step(PLAIN, n, x)
        assert_alike(found[0], expected[0], "float32")
        assert found[1:] == expected[1:]
        assert [*map(type, found[1:])] == [int, float]
    assert compiled.report == ""
    assert [*compiled._trusted.values()] == [4]


def by_index(xp, n, x):
    return x * [1, 2, 3, 4, 5, 6, 7, 8][n]


def by_length(xp, n, x):
    return x + xp.arange(n)[-1]


def by_slice(xp, n, x):
    return x[:n] * 2


def by_test(xp, n, x):
    return x * (2 if n > 3 else 1)


@pytest.mark.parametrize("step", [by_index, by_length, by_slice, by_test])
def test_other_use_of_a_whole_number_is_named_by_its_line(xp, step):
    compiled = xp.compile(step)
    x = numpy.ones((4, 3), numpy.float32)
    for n in (1, 2, 3, 4, 7, 5):
        assert_alike(compiled(xp, n, x), step(PLAIN, n, x), "float32")
    expected = f"`test_own_parts.py:{step.__code__.co_firstlineno + 1}: return "
    assert compiled.report.startswith(expected)
    assert "` computes with a whole number that the step is given" in compiled.report


def reads_as_float(xp, x, y):
    return x * float(xp.sum(y))


def reads_as_truth(xp, x, y):
    return x * 2 if xp.any(y > 0) else y


def reads_as_int(xp, x, y):
    return x[: int(xp.argmax(y[0])) + 1] * 1


def reads_an_item(xp, x, y):
    return x * y[0, 0].item()


def reads_by_a_list(xp, x, y):
    return x * y.tolist()[0][0]


def reads_as_numpy(xp, x, y):
    return x * numpy.asarray(y)


def reads_for_the_host(xp, x, y):
    return x * xp.to_host(y)


def reads_by_max(xp, x, y):
    return x * max(y[0, 0], y[0, 1])


def reads_by_comparing(xp, x, y):
    return x * numpy.array_equal(x, y)


def returns_a_number(xp, x, y):
    return x * 2, float(xp.sum(x))


def selects(xp, x, y):
    return x[y > 0] * 1


def finds(xp, x, y):
    return xp.nonzero(y)[0] * 1


def finds_by_where(xp, x, y):
    return xp.where(y > 0)[0] * 1


def sets_items(xp, x, y):
    y[0] = 0
    return x * y


def adds_in_place(xp, x, y):
    y += 1
    return x * y


def writes_to(xp, x, y):
    return xp.add(x, y, out=x)


def sorts_in_place(xp, x, y):
    y.sort()
    return x * y


def takes_from_outside(xp, x, y):
    return x * TABLE


def makes_by_numpy(xp, x, y):
    return x * (numpy.ones(3, x.dtype) * y)


def applies_a_function(xp, x, y):
    return numpy.apply_along_axis(sorted, 0, x) * y


def uses_the_memory(xp, x, y):
    return x * y.view("int32")


def uses_an_old_view(xp, x, y):
    rows = x.T
    xp.nn.sgd_step(x, y, 0.5)
    return rows * 2


def changes_a_view(xp, x, y):
    return xp.nn.sgd_step(x[1:], y[1:], 0.5)


def raises_for_what_it_is_given(xp, x, y):
    return x * (y if type(y) is numpy.ndarray else undefined(y))  # noqa: F821


TABLE = numpy.ones(3, "float32")
READS = "reads a value on the host"
IN_PLACE = "changes an array in place, other than by `xp.nn`"
OF_VALUES = "makes an array whose shape depends on values"
UNKNOWN = "uses an array that neither came as an argument nor was made by the step's own `xp`"
REFUSED = {
    reads_as_float: READS,
    reads_as_truth: READS,
    reads_as_int: READS,
    reads_an_item: READS,
    reads_by_a_list: READS,
    reads_as_numpy: READS,
    reads_for_the_host: READS,
    reads_by_max: READS,
    reads_by_comparing: READS,
    returns_a_number: READS,
    selects: OF_VALUES,
    finds: OF_VALUES,
    finds_by_where: OF_VALUES,
    sets_items: IN_PLACE,
    adds_in_place: IN_PLACE,
    writes_to: "writes to an array, other than by `xp.nn`",
    sorts_in_place: IN_PLACE,
    takes_from_outside: UNKNOWN,
    makes_by_numpy: UNKNOWN,
    applies_a_function: "gives `xp.apply_along_axis` a builtin_function_or_method",
    uses_the_memory: "uses `view` of an array",
    uses_an_old_view: "uses a view of an array that was changed since",
    changes_a_view: "`nn.sgd_step` is given a view to change",
    raises_for_what_it_is_given: "cannot be recorded: NameError: name 'undefined' is not defined",
}
# Where the line is not the second one of the function.
LATER = {adds_in_place: 0, uses_an_old_view: 2}


@pytest.mark.parametrize("step", REFUSED)
def test_step_that_cannot_be_compiled_is_right_and_reports_its_line(xp, step):
    compiled = xp.compile(step)
    for x, y in calls():
        arguments = steps.copied([x, y])
        assert_alike(compiled(xp, x, y), step(PLAIN, *arguments), "float32")
        assert_same([x, y], arguments)
    number = step.__code__.co_firstlineno + 1 + LATER.get(step, 0)
    assert compiled.report.startswith(f"`test_own_parts.py:{number}: ")
    assert REFUSED[step] in compiled.report
    assert "\n" not in compiled.report


@dataclasses.dataclass(frozen=True)
class Mish(Unparametrised):
    """``x tanh(log(1 + exp(x)))``, of standard functions."""

    def __call__(self, xp, params, x, *, stream=None):
        grown = xp.exp(-xp.abs(x))
        inner = xp.tanh(xp.log1p(grown) + xp.where(x > 0, x, xp.zeros_like(x)))
        sigmoid = xp.where(x > 0, 1 / (1 + grown), grown / (1 + grown))
        slope = inner + x * sigmoid * (1 - inner**2)
        return x * inner, lambda dy, *, input_gradient=True: (dy * slope, {})


def make_trainer(xp, model, optimizer, loss, *, dtype="float64", batch_size=16):
    data = xpnet.Dataset(make_images("dense", (37, 12)), numpy.arange(37) % 3)
    criterion = LOSSES["softmax_cross_entropy"]
    criterion = criterion if loss is None else OwnLoss(loss)
    problem = Problem(model, criterion, Scaling(1 / 255), dtype)
    params = {name: xp.asarray(p) for name, p in model.init(PLAIN, 3, dtype=dtype).items()}
    return Trainer(xp, problem, params, data, optimizer=optimizer, batch_size=batch_size, seed=3)


MODELS = {
    "first": (Scaled(12, 0.5), xpnet.Linear(12, 3)),
    "between": (xpnet.Linear(12, 8), Mish(), xpnet.Linear(8, 3)),
    "last": (xpnet.Linear(12, 3), Scaled(3)),
    "nested": (xpnet.Residual(Twice(xpnet.Sequential(Scaled(12), Mish()))), xpnet.Linear(12, 3)),
    "state": (xpnet.Linear(12, 8), Centred(8), xpnet.ReLU(), xpnet.Linear(8, 3)),
    "random numbers": (xpnet.Linear(12, 8), Noisy(), xpnet.Tanh(), xpnet.Dropout(0.5), xpnet.Linear(8, 3)),
    "images": (xpnet.Unflatten(3, 4, 1), xpnet.Conv2d(1, 2, 3), Mish(), xpnet.Flatten(), xpnet.Linear(24, 3)),
}
OPTIMIZERS = [xpnet.SGD(0.1), xpnet.Adam(0.01, eps=1e-3), Lion(0.01), Unbiased(0.01)]


@pytest.mark.parametrize("loss", [None, logistic], ids=["loss of xpnet", "own loss"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("name", MODELS)
def test_training_with_own_parts_is_compiled_and_right(xp, name, optimizer, loss):
    model = xpnet.Sequential(*MODELS[name])
    mine, plain = (make_trainer(n, model, optimizer, loss) for n in (xp, PLAIN))
    sums, expected = train(mine, 37, steps=18), train(plain, 37, steps=18)
    assert mine.report == ""
    assert len(mine.compiled.programs) == 2
    assert min(mine.compiled._trusted.values()) > 0
    numpy.testing.assert_allclose(sums, expected, rtol=1e-7)
    assert_trained_alike(mine, plain)


@pytest.mark.parametrize("name", ["state", "random numbers"])
def test_registered_layers_with_state_and_random_numbers_go_through_a_file(xp, dataset, tmp_path, name):
    model = xpnet.Sequential(*MODELS[name])
    run = xpnet.fit(xp, model, dataset, test=dataset, optimizer=Lion(0.01), epochs=2, batch_size=16)
    assert run.report == ""
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", xp)
    assert loaded.model == model
    numpy.testing.assert_array_equal(loaded.predict_outputs(dataset), run.predict_outputs(dataset))
    again = xpnet.fit(xp, model, dataset, test=dataset, optimizer=Lion(0.01), epochs=2, batch_size=16)
    for key, p in run.params.items():
        numpy.testing.assert_array_equal(again.params[key], p)
