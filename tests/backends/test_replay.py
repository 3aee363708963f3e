"""Steps that backends replay on processors, beside twins that run every step as it is written."""

import gc
import itertools
import math
import threading
import weakref
from unittest import mock

import numpy
import pytest
import steps
from steps import FACTOR, assert_same, copied, make_arguments, make_images, shifted, step


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def assert_replays(xp, step, *calls, dtype="float32"):
    """Compare a compiled step with the step itself, on copies of each tuple of arguments."""
    compiled = xp.compile(step)
    for args in calls:
        assert_same(compiled(xp, *copied(args)), step(xp, *copied(args)), dtype=dtype)
    return compiled


def recorded(xp):
    """Return the compiled `step`, whose program has been tried."""
    compiled = xp.compile(step)
    for _ in range(2):
        compiled(xp, *make_arguments())
    assert compiled.report == ""
    return compiled


@pytest.mark.parametrize("kind", ["sparse", "dense", "blank"])
def test_other_arrays_of_the_same_shapes_are_used(xp, kind):
    calls = [make_arguments(), make_arguments(), *(make_arguments(seed=i, kind=kind) for i in (1, 2, 1))]
    assert assert_replays(xp, step, *calls).report == ""


def test_what_is_returned_may_be_passed_on_or_forgotten(xp):
    compiled = recorded(xp)
    params, *rest = make_arguments(seed=1)
    first = compiled(xp, copied(params), *rest)
    kept = copied(first)
    second = compiled(xp, first[0], *rest)
    assert_same(second, step(xp, kept[0], *rest))
    # From the beginning again, in between another's parameters.
    compiled(xp, *make_arguments(seed=2))
    assert_same(compiled(xp, copied(params), *rest), step(xp, copied(params), *rest))


@pytest.mark.parametrize("shift", [0, 4, 16, 32])
def test_parameters_may_begin_anywhere_in_memory(xp, shift):
    compiled = recorded(xp)
    params, *rest = make_arguments(seed=1)
    expected = copied(params)
    for _ in range(3):
        params, loss = compiled(xp, params | {"weight": shifted(params["weight"], shift)}, *rest)
        expected, expected_loss = step(xp, copied(expected), *rest)
        assert_same((params, loss), (expected, expected_loss))
    assert compiled.report == ""


def test_parameters_that_cannot_be_written_stay_as_they_are(xp):
    compiled = recorded(xp)
    params, *rest = make_arguments(seed=1)
    expected = step(xp, copied(params), *rest)
    frozen = copied(params)
    for p in frozen.values():
        p.setflags(write=False)
    for _ in range(3):
        assert_same(compiled(xp, frozen, *rest), expected)
        assert_same(frozen, params, factor=0.0)
    assert compiled.report == ""


def test_results_of_a_step_stay_as_they_are(xp):
    compiled = recorded(xp)
    params, *rest = make_arguments(seed=1)
    all_losses, kept = [], []
    for _ in range(4):
        params, loss = compiled(xp, params, *rest)
        all_losses.append(loss)
        kept.append(float(loss))
    assert [float(loss) for loss in all_losses] == kept
    assert len(set(kept)) == 4


def test_other_dtypes_and_layouts_are_no_mistake(xp):
    compiled = recorded(xp)
    params, images, labels, indices = make_arguments(seed=1)
    weight = numpy.asfortranarray(params["weight"])
    for changed in (
        (params, images.astype(numpy.float32), labels, indices),
        (params, images, labels.astype(numpy.int64), indices),
        (params, images, labels, indices.astype(numpy.int64)),
        (params | {"weight": weight}, images, labels, indices),
        (params, images, labels, indices),
    ):
        assert_same(compiled(xp, *copied(changed)), step(xp, *copied(changed)))
    compiled = xp.compile(step)
    compiled(xp, params | {"weight": weight}, images, labels, indices)
    assert "C-contiguous" in compiled.report


def test_step_without_an_optimizer_gives_new_arrays_each_time(xp):
    def loss_and_gradient(xp, weight, bias, x, labels):
        return xp.nn.softmax_cross_entropy(xp.nn.linear(x, weight, bias), labels)

    compiled = xp.compile(loss_and_gradient)
    random = numpy.random.default_rng(0)
    weight, bias, *xs = (
        random.normal(size=size).astype(numpy.float32) for size in ((7, 3), 3, *[(5, 7)] * 4)
    )
    labels = numpy.arange(5, dtype=numpy.int32) % 3
    before = copied((weight, bias, labels))
    found = [compiled(xp, weight, bias, x, labels) for x in xs]
    assert compiled.report == ""
    for (loss, gradient), x in zip(found, xs, strict=True):
        assert_same((loss, gradient), loss_and_gradient(xp, weight, bias, x, labels))
    arrays = [a for pair in found[1:] for a in pair]
    assert not any(numpy.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))
    assert_same((weight, bias, labels), before, factor=0.0)


def test_step_that_returns_a_loss_alone_returns_it(xp):
    args = make_arguments()

    def loss_alone(xp, params, images, labels, indices):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=-0.5, dtype=xp.float32)
        outputs = xp.nn.linear(x, params["weight"], params["bias"])
        return xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels, indices))[0]

    assert assert_replays(xp, loss_alone, args, args, make_arguments(seed=1)).report == ""


def test_batch_that_is_returned_is_filled(xp):
    def gathered(xp, images, indices, weight, bias):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
        return x, xp.nn.linear(x, weight, bias)

    params, images, _, indices = make_arguments()
    compiled = xp.compile(gathered)
    # As many arrays as are held cannot have the memory of those that were dropped.
    held = [compiled(xp, images, indices, params["weight"], params["bias"]) for _ in range(5)]
    for x, y in held:
        assert_same((x, y), gathered(xp, images, indices, params["weight"], params["bias"]))


@pytest.mark.parametrize("stored", ["uint8", "float32"])
def test_batch_of_images_with_channels_is_gathered(xp, stored):
    def step(xp, images, indices):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=-0.5, dtype=xp.float32)
        return xp.nn.relu(x)

    random = numpy.random.default_rng(0)
    images = random.integers(0, 256, (9, 5, 4, 3)).astype(stored)
    compiled = xp.compile(step)
    for _ in range(4):
        args = images, random.permutation(9).astype(numpy.int32)
        assert_same(compiled(xp, *args), step(xp, *args))
        assert compiled(xp, *args).shape == (9, 5, 4, 3)
    assert compiled.report == ""


def test_arguments_that_are_passed_on_come_back(xp):
    args = numpy.ones((2, 3), numpy.float32), {"a": 4, "b": [None, "text", True]}

    def passing(xp, x, rest):
        return {"y": xp.nn.relu(x), "x": x, "rest": rest, "one": (rest["a"] + 1, ())}

    compiled = assert_replays(xp, passing, args, args, (2 * args[0], {"a": 9, "b": [None, "text", True]}))
    assert compiled.report == ""
    assert compiled(xp, *args)["x"] is args[0]


def test_number_among_the_arguments_is_used_where_it_goes(xp):
    def adding(xp, total, value, count):
        return xp.nn.accumulate(total, value, count), count + 1

    one, two = (numpy.array(x, numpy.float32) for x in (1.0, 2.0))
    assert_replays(xp, adding, (one, two, 1), (one, two, 2), (two, one, 7))


@pytest.mark.parametrize(
    ("rate", "report"), [(lambda n: 0.1 / n, ""), (lambda n: 0.1 / math.sqrt(n), "whole number")]
)
def test_rate_that_depends_on_a_number_among_the_arguments_is_never_frozen(xp, rate, report):
    def decaying(xp, param, grad, epoch):
        return xp.nn.sgd_step(param, grad, rate(epoch))

    param, grad = (numpy.ones(3, numpy.float32) for _ in range(2))
    calls = [(param, grad, epoch) for epoch in (1, 1, 1, 2, 3, 4)]
    found = assert_replays(xp, decaying, *calls).report
    assert report in found
    assert bool(report) == bool(found)


def test_rate_that_is_an_array_is_used(xp):
    def stepping(xp, param, grad, lr):
        return xp.nn.sgd_step(param, grad, lr)

    param, grad = (numpy.random.default_rng(i).normal(size=(3, 4)).astype(numpy.float32) for i in (0, 1))
    rates = [numpy.array(x, numpy.float32) for x in (0.1, 0.1, 0.5)]
    assert_replays(xp, stepping, *[(param, grad, lr) for lr in rates])


def test_weight_of_a_sum_that_is_an_array_is_used(xp):
    one, two, three = (numpy.array(x, numpy.float32) for x in (1.0, 2.0, 5.0))
    calls = (one, two, two), (one, two, three), (three, two, one)
    assert_replays(xp, lambda xp, *args: xp.nn.accumulate(*args), *calls)


@pytest.mark.parametrize("tied", [(True, False), (False, True)])
def test_parameters_may_be_one_array_or_two(xp, tied):
    def stepping(xp, p, q, grad):
        return xp.nn.sgd_step(p, grad, 0.5), xp.nn.sgd_step(q, grad, 0.25)

    p, q, grad = (numpy.random.default_rng(i).normal(size=(3, 4)).astype(numpy.float32) for i in range(3))
    compiled = xp.compile(stepping)
    for is_tied in tied:
        mine, other = shifted(p), numpy.array(p)
        actual = compiled(xp, mine, mine if is_tied else numpy.array(q), grad)
        assert_same(actual, stepping(xp, other, other if is_tied else numpy.array(q), grad))


def test_floats_of_other_sizes_are_left_to_the_step(xp):
    def step(xp, total, x):
        return xp.nn.accumulate(total, x, 0.5)

    args = numpy.float16(1), numpy.linspace(-30, 30, 9, dtype=numpy.float16)
    compiled = xp.compile(step)
    for _ in range(4):
        numpy.testing.assert_array_equal(compiled(xp, *args), step(xp, *args))
    assert compiled.report == (
        "the step has arrays of float16, and can be replayed with float32 and float64 only"
    )


def test_lists_of_other_lengths_are_no_mistake(xp):
    def last_of_the_first(xp, xs, ys):
        return xp.nn.relu(xs[-1])

    a, b, c = (numpy.full((2, 2), x, numpy.float32) for x in (1, 2, 3))
    assert_replays(xp, last_of_the_first, ([a], [b, c]), ([a], [b, c]), ([a, b], [c]))


def test_step_may_be_called_by_the_names_of_its_parameters(xp):
    x = numpy.ones((2, 2), numpy.float32)
    compiled = xp.compile(lambda xp, x, y: xp.nn.relu_backward(x, y))
    for _ in range(2):
        assert_same(compiled(xp, x, y=-x), xp.nn.relu_backward(x, -x))


def test_error_in_a_step_is_the_callers_and_the_next_call_is_right(xp):
    calls = []

    @steps.noting
    def failing(xp, x):
        y = xp.nn.relu(x)
        calls.append(y)
        if len(calls) == 1:
            raise ValueError("the first one fails")
        return y

    compiled, x = xp.compile(failing), numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    with pytest.raises(ValueError, match="the first one fails"):
        compiled(xp, x)
    for factor in (1, 2, 3):
        assert_same(compiled(xp, factor * x), xp.nn.relu(factor * x))
    assert compiled.report == ""
    assert len(calls) == 3


def test_call_after_an_error_uses_its_own_arrays(xp):
    compiled = recorded(xp)
    params, images, labels, indices = make_arguments(seed=1)
    compiled(xp, copied(params), images, labels, indices)
    others = make_images("dense", (37, 29), seed=5)
    if xp.name == "numpy":
        with pytest.raises(IndexError):
            compiled(xp, copied(params), others, labels, numpy.full_like(indices, 99))
    else:
        with (
            mock.patch("xpnet_numba.images.compress", side_effect=MemoryError),
            pytest.raises(MemoryError),
        ):
            compiled(xp, copied(params), others, labels, indices)
    for data in (images, others):
        args = data, labels, indices
        assert_same(compiled(xp, copied(params), *args), step(xp, copied(params), *args))
    assert compiled.report == ""


def test_programs_are_let_go_with_the_step(xp):
    compiled = recorded(xp)
    compiled(xp, *make_arguments())
    (program,) = map(weakref.ref, compiled.programs)
    gc.disable()
    try:
        del compiled
        assert program() is None
    finally:
        gc.enable()


def test_a_scalar_that_takes_a_step_stays_as_it_is(xp):
    one, two = numpy.float32(1), numpy.float32(2)
    compiled = xp.compile(lambda xp, param, grad: xp.nn.sgd_step(param, grad, 0.25))
    assert [float(compiled(xp, one, two)) for _ in range(6)] == [0.5] * 6
    assert compiled.report == ""


def test_a_number_of_numpys_makes_results_of_its_dtype(xp):
    def adding(xp, total, value):
        return xp.nn.accumulate(total, value, numpy.float64(0.5))

    compiled = xp.compile(adding)
    for _ in range(5):
        args = numpy.float32(1), numpy.float32(2)
        assert_same(compiled(xp, *args), adding(xp, *args))


def test_step_inside_a_step_is_right(xp):
    inner = xp.compile(lambda xp, x: xp.nn.sigmoid(x))
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    outer = lambda xp, x: xp.nn.relu(inner(xp, x))  # noqa: E731
    compiled = assert_replays(xp, outer, *[(x,)] * 4, (2 * x,))
    assert (compiled.report, len(compiled.programs)) == ("", 1)


def test_step_that_uses_another_namespace_than_its_own_is_right(xp):
    outer, p, g = xp, numpy.ones((2, 3), numpy.float32), numpy.full((2, 3), 2, numpy.float32)
    mixed = lambda xp, p, g: xp.nn.relu(outer.nn.accumulate(p, g, 0.5))  # noqa: E731
    compiled = assert_replays(xp, mixed, *[(p, g)] * 4)
    # NumPy's own functions note what they do with recorded arrays; compiled kernels do not take these.
    assert compiled.report == "" or "outer.nn.accumulate(p, g, 0.5))` " in compiled.report
    in_place = lambda xp, p, g: outer.nn.sgd_step(p, g, 0.5)  # noqa: E731
    assert assert_replays(xp, in_place, *[(p, g)] * 4).report != ""


def test_compiled_step_on_another_namespace_runs_there_as_it_is_written(xp):
    compiled = xp.compile(lambda xp, total, x: (xp.nn.accumulate(total, x, 1.0), xp.name))
    zero, one = numpy.zeros(3, numpy.float32), numpy.ones(3, numpy.float32)
    for _ in range(3):
        assert_same(compiled(steps.PLAIN, zero, one), (one, "plain"))
        assert_same(compiled(xp, zero, one), (one, xp.name))
    assert compiled.report == ""
    assert_same(steps.PLAIN.fold(xp.compile(lambda xp, name: (xp.name,)), ("",), [()]), ("plain",))


def test_compiled_step_that_is_called_without_a_namespace_says_so(xp):
    with pytest.raises(TypeError, match=r"a namespace first, as `step\(xp, ...\)`, but .* a ndarray"):
        xp.compile(lambda xp, x: xp.nn.relu(x))(numpy.ones(3))


def test_two_threads_may_call_one_step_at_once(xp):
    compiled = recorded(xp)
    found, errors = {}, []
    barrier = threading.Barrier(2)

    def work(seed):
        try:
            params, *rest = make_arguments(seed=seed)
            barrier.wait()
            for _ in range(200):
                params, _ = compiled(xp, params, *rest)
            found[seed] = params
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert compiled.report == ""
    for seed, params in found.items():
        expected, *rest = make_arguments(seed=seed)
        for _ in range(200):
            expected, _ = step(xp, expected, *rest)
        assert_same(params, expected, factor=FACTOR)


UNUSUAL = {
    "no rows": ("linear", ((0, 3), (3, 2), (2,)), "float32"),
    "no features": ("linear", ((4, 0), (0, 2), (2,)), "float32"),
    "a vector": ("linear", ((3,), (3, 2), (2,)), "float32"),
    "one bias for all": ("linear", ((4, 3), (3, 2), (1,)), "float32"),
    "whole numbers": ("relu", ((4, 3),), "int32"),
    "bytes": ("relu", ((4, 3),), "uint8"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_kernels_do_not_expect_is_not_given_to_them(xp, name):
    """Kernels trust shapes and dtypes; what NumPy would take beyond those is left to the function."""
    function, shapes, dtype = UNUSUAL[name]
    arrays = [numpy.arange(numpy.prod(shape)).reshape(shape).astype(dtype) for shape in shapes]

    def step(xp, *arrays):
        return getattr(xp.nn, function)(*arrays)

    try:
        expected = step(xp, *arrays)
    except ValueError:
        pytest.skip("the function itself refuses this")
    compiled = xp.compile(step)
    for _ in range(4):
        numpy.testing.assert_array_equal(compiled(xp, *arrays), expected)
