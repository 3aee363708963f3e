"""Steps that the backend `numba` replays, beside twins that run every step as it is written."""

import ctypes
import dataclasses
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest
import threadpoolctl
from checking import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet
from xpnet.batches import Scaling
from xpnet.losses import LOSSES
from xpnet.trainer import Trainer

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import layout, program, replay, team, xp  # noqa: E402
from xpnet_numba.kernels import activations, dense, losses, softmax  # noqa: E402
from xpnet_numba.kernels.steps import momentum_in_place  # noqa: E402

few = settings(deadline=None, derandomize=True, max_examples=100)
PLAIN = xpnet.Namespace("plain", numpy)  # no kernels, and a step is left as it is
# Sums of another order over a dozen steps; times the tolerances in `checking`.
FACTOR = 500
IMAGES = ["sparse", "dense", "blank", "float"]
ACTIVATIONS = [xpnet.Sigmoid, xpnet.ReLU, xpnet.Tanh, xpnet.Softmax]
OPTIMIZERS = [
    xpnet.SGD(0.01),
    xpnet.Momentum(0.03),
    xpnet.Nesterov(0.03, 0.8),
    # With a large `eps`, because Adam turns the sign of a gradient that rounds to 0 into a whole step.
    xpnet.Adam(0.01, eps=1e-3),
]
# By batch size: how many images there are, the last batch of which is ragged but for the first size.
COUNTS = {1: 12, 5: 18, 16: 37, 40: 37}


def make_images(kind, shape, *, seed=0):
    random = numpy.random.default_rng(seed)
    images = random.integers(0, 256, shape).astype(numpy.uint8)
    if kind == "float":
        return images / 255
    if kind == "blank":
        return numpy.zeros_like(images)
    if kind == "sparse":
        images[random.random(shape) < 0.8] = 0
        assert numpy.count_nonzero(images) <= program.DENSEST * images.size
    return images


@st.composite
def models(draw, n_in, n_out):
    """Return linear layers with activations between some of them, and perhaps before and behind."""
    activations = st.sampled_from([*ACTIVATIONS, None])
    sizes = draw(st.lists(st.sampled_from([1, 3, 10, 17, 64, 70]), max_size=3))
    layers = [draw(st.sampled_from([None, None, None, xpnet.Tanh]))]
    for pair in itertools.pairwise((n_in, *sizes, n_out)):
        layers += [xpnet.Linear(*pair), draw(activations)]
    return xpnet.Sequential(
        *[layer if isinstance(layer, xpnet.Linear) else layer() for layer in layers if layer]
    )


@st.composite
def trainings(draw):
    """Return a model, images and labels, and the options of their training."""
    loss = draw(st.sampled_from(sorted(LOSSES)))
    n_in, n_out = draw(st.sampled_from([3, 29, 130])), draw(st.sampled_from([2, 3, 10]))
    if loss != "softmax_cross_entropy":
        n_out = draw(st.sampled_from([1, n_out]))
    batch_size = draw(st.sampled_from(sorted(COUNTS)))
    images = make_images(draw(st.sampled_from(IMAGES)), (COUNTS[batch_size], n_in))
    options = {
        "loss": loss,
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "batch_size": batch_size,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "scaling": draw(
            st.sampled_from(
                [Scaling(), Scaling(1 / 255, -0.5), Scaling(2 / 255, -1.0), Scaling(1 / 300, 0.125)]
            )
        ),
    }
    labels = numpy.arange(len(images)) % max(n_out, 2)
    return draw(models(n_in, n_out)), xpnet.Dataset(images, labels), options


def make_trainer(xp, model, data, *, loss="softmax_cross_entropy", optimizer=OPTIMIZERS[0], **options):
    """Return a trainer and a list that grows with each step that Python takes."""
    calls = []
    criterion = LOSSES[loss]

    def function(xp, outputs, labels):
        calls.append(outputs.shape[0])
        return criterion.function(xp, outputs, labels)

    options = {"batch_size": 16, "seed": 3, "dtype": "float64", "scaling": Scaling()} | options
    params = model.init(PLAIN, 3, dtype=options["dtype"])
    params = {name: xp.asarray(p, copy=True) for name, p in params.items()}
    counted = dataclasses.replace(criterion, function=function)
    return Trainer(xp, model, params, data, criterion=counted, optimizer=optimizer, **options), calls


def train(trainer, n, *, steps=12):
    """Train for at least so many steps, and return the losses of the epochs."""
    stream = xpnet.Stream(0, "shuffle")
    epochs = -(-steps // -(-n // trainer._batch_size))
    return [float(trainer.epoch(stream.permutation(n))) for _ in range(epochs)]


def assert_trained_alike(actual, expected, *, dtype="float64"):
    """Compare the parameters and the optimizer's states of two trainers."""
    assert list(actual.params) == list(expected.params)
    assert_states_alike(actual.params, expected.params, dtype=dtype)
    assert_states_alike(actual._state, expected._state, dtype=dtype)


def assert_states_alike(actual, expected, *, dtype):
    assert type(actual) is dict
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_states_alike(actual[key], value, dtype=dtype)
        elif isinstance(value, int):
            assert type(actual[key]) is int
            assert actual[key] == value
        else:
            assert actual[key].dtype == value.dtype == dtype
            assert_close(PLAIN, actual[key], value, dtype=dtype, factor=FACTOR)


@few
@given(trainings(), st.sampled_from([program.LARGEST_PRODUCT, 2000, 0]))
def test_replayed_training_equals_plain_training(training, largest):
    model, data, options = training
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "LARGEST_PRODUCT", largest)  # so that the BLAS takes part
        (mine, calls), (plain, _) = (make_trainer(n, model, data, **options) for n in (xp, PLAIN))
        sums = train(mine, len(data))
    expected = train(plain, len(data))
    assert mine._compiled.report == ""
    assert all(calls.count(size) <= 2 for size in calls)  # Each size of batch is recorded, and tried once.
    dtype = options["dtype"]
    assert_trained_alike(mine, plain, dtype=dtype)
    assert_close(PLAIN, numpy.array(sums), expected, dtype=dtype, factor=FACTOR)


def carry_out_backwards(team, program, *, helped):
    """Do what `Team.carry_out` does, the last part of each stage first, as if there were as many threads."""
    operations, numbers, width, slots, stages, count = map(int, program.array[: layout.COUNT + 1])
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5, team._work.argtypes[-1])
    for first, end, parts in integers(stages, (count, layout.STAGE_WIDTH)):
        for part in reversed(range(parts)):
            for i in range(first, end):
                row = operations + i * layout.WIDTH * 8
                address, length = map(int, integers(row, 2))
                begin, stop = length * part // parts, length * (part + 1) // parts
                if length == 0:
                    begin, stop = 0, int(part == 0)
                if begin < stop:
                    details = row + layout.DETAILS * 8
                    function(address)(details, numbers + i * width, slots, begin, stop, 0)


def integers(address, shape):
    size = int(numpy.prod(shape))
    return numpy.ctypeslib.as_array((ctypes.c_int64 * size).from_address(address)).reshape(shape)


@settings(few, max_examples=30)
@given(trainings(), st.sampled_from([program.LARGEST_PRODUCT, 2000]))
def test_order_of_the_parts_of_a_stage_changes_no_bit(training, largest):
    model, data, options = training
    forwards, backwards = (make_trainer(xp, model, data, **options)[0] for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "LARGEST_PRODUCT", largest)
        sums = train(forwards, len(data))
        patch.setattr(team.Team, "carry_out", carry_out_backwards)
        if largest > 2000:
            patch.setattr(replay, "PARTS", 64)
        found = train(backwards, len(data))
    assert forwards._compiled.report == backwards._compiled.report == ""
    assert sums == found
    for name, p in forwards.params.items():
        numpy.testing.assert_array_equal(p, backwards.params[name])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_rehearsed_without_a_trace(optimizer):
    data = xpnet.Dataset(make_images("sparse", (37, 29)), numpy.arange(37) % 3)
    rehearsed, other = (
        make_trainer(xp, xpnet.mlp(29, 10, 3), data, optimizer=optimizer)[0] for _ in range(2)
    )
    before = {name: numpy.array(p) for name, p in rehearsed.params.items()}
    rehearsed.rehearse()
    for name, p in before.items():
        numpy.testing.assert_array_equal(rehearsed.params[name], p)
    train(rehearsed, 37)
    train(other, 37)
    assert_trained_alike(rehearsed, other)


def test_dropout_trains_as_in_the_twin_and_the_report_says_why():
    model = xpnet.Sequential(xpnet.Linear(29, 10), xpnet.Dropout(0.3), xpnet.ReLU(), xpnet.Linear(10, 3))
    data = xpnet.Dataset(make_images("sparse", (37, 29)), numpy.arange(37) % 3)
    (mine, calls), (plain, _) = (make_trainer(n, model, data) for n in (xp, PLAIN))
    sums, expected = train(mine, 37), train(plain, 37)
    assert mine._compiled.report == (
        "`z` of `nn.relu` is an array that neither came as an argument nor was made by `xp.nn`"
    )
    assert len(calls) == 12
    assert_trained_alike(mine, plain)
    assert_close(PLAIN, numpy.array(sums), expected)


class Own:
    """A rule of one's own, whose state is a count of steps."""

    def __init__(self, update):
        self._update = update

    def init(self, xp, params):
        return {"step": 0}

    def __call__(self, xp, params, grads, state):
        new = {name: self._update(xp, p, grads[name], state["step"]) for name, p in params.items()}
        return new, {"step": state["step"] + 1}


def with_new_arrays(xp, p, grad, step):
    return p - 0.1 * grad


def in_place(xp, p, grad, step):
    p -= 0.1 * grad
    return p


def by_out(xp, p, grad, step):
    return numpy.subtract(p, 0.1 * grad, out=p)


def with_decay_of_the_gradient_in_place(xp, p, grad, step):
    grad *= 0.5
    return xp.nn.sgd_step(p, grad, 0.1)


def with_a_rate_divided_by_the_step(xp, p, grad, step):
    return xp.nn.sgd_step(p, grad, 0.1 / (step + 1))


def with_a_rate_to_the_power_of_the_step(xp, p, grad, step):
    return xp.nn.sgd_step(p, grad, 0.1 * 0.9**step)


def with_a_rate_from_a_table(xp, p, grad, step):
    return xp.nn.sgd_step(p, grad, [0.1, 0.05, *[0.02] * 20][step])


def with_half_a_step_more(xp, p, grad, step):
    return xp.nn.sgd_step(p, grad, 0.1 / float(step + 0.5))


def with_a_product_of_the_step(xp, p, grad, step):
    return xp.nn.sgd_step(p, grad, step * 0.01)


def with_the_step_as_rate(xp, p, grad, step):
    return xp.nn.sgd_step(p, grad, step + 1)


RULES = [
    with_new_arrays,
    in_place,
    by_out,
    with_decay_of_the_gradient_in_place,
    with_a_rate_divided_by_the_step,
    with_a_rate_to_the_power_of_the_step,
    with_a_rate_from_a_table,
    with_half_a_step_more,
    with_a_product_of_the_step,
    with_the_step_as_rate,
]


@pytest.mark.parametrize("update", RULES)
def test_rule_of_ones_own_trains_as_in_the_twin(update):
    data = xpnet.Dataset(make_images("dense", (37, 12)), numpy.arange(37) % 3)
    (mine, _), (plain, _) = (
        make_trainer(n, xpnet.mlp(12, 3), data, optimizer=Own(update), scaling=Scaling(1e-3))
        for n in (xp, PLAIN)
    )
    train(mine, 37)
    train(plain, 37)
    assert_trained_alike(mine, plain)


def test_report_names_what_a_rule_of_ones_own_computed():
    data = xpnet.Dataset(make_images("dense", (37, 12)), numpy.arange(37) % 3)
    trainer, calls = make_trainer(xp, xpnet.mlp(12, 3), data, optimizer=Own(with_new_arrays))
    train(trainer, 37)
    assert trainer._compiled.report == (
        "the step returns an array that neither came as an argument nor was made by `xp.nn`"
    )
    assert len(calls) == 12


def test_more_shapes_than_there_are_programs_take_turns():
    model, sizes = xpnet.mlp(29, 10, 3), [*range(1, 12), 1, 11, 5, *range(11, 0, -1), 3, 3]
    data = xpnet.Dataset(make_images("sparse", (37, 29)), numpy.arange(37) % 3)
    (mine, _), (plain, _) = (
        make_trainer(n, model, data, optimizer=xpnet.Adam(0.01, eps=1e-3), batch_size=100)
        for n in (xp, PLAIN)
    )
    for size in sizes:
        order = xpnet.Stream(size, "shuffle").permutation(37)[:size]
        total, expected = mine.epoch(order), plain.epoch(order)
        assert_close(PLAIN, total, expected, factor=FACTOR)
    assert mine._compiled.report == ""
    assert_trained_alike(mine, plain)


# A step written out: a layer, a loss and a rule, of whose arrays the two parameters may be overwritten.


def step(params, images, labels, indices):
    x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
    outputs = xp.nn.linear(x, params["weight"], params["bias"])
    loss, d_outputs = xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels, indices))
    _, d_weight, d_bias = xp.nn.linear_backward(x, params["weight"], d_outputs, input_gradient=False)
    new = {"weight": d_weight, "bias": d_bias}
    return {name: xp.nn.sgd_step(p, new[name], 0.5) for name, p in params.items()}, loss


def make_arguments(*, seed=0, kind="sparse", batch=16):
    random = numpy.random.default_rng(seed)
    return (
        {
            "weight": random.normal(size=(29, 3)).astype(numpy.float32),
            "bias": random.normal(size=3).astype(numpy.float32),
        },
        make_images(kind, (37, 29), seed=seed),
        random.integers(0, 3, 37).astype(numpy.int32),
        random.permutation(37)[:batch].astype(numpy.int32),
    )


def copied(tree):
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)([copied(value) for value in tree])
    return numpy.array(tree) if isinstance(tree, numpy.ndarray) else tree


def assert_same(actual, expected, *, dtype="float32", factor=10.0):
    """Compare what a compiled step returned with what the step returned."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e, dtype=dtype, factor=factor)
    elif isinstance(expected, numpy.ndarray | numpy.generic):
        assert actual.dtype == expected.dtype
        assert_close(xp, actual, expected, dtype=dtype, factor=factor)
    else:
        assert type(actual) is type(expected)
        assert actual == expected


def assert_replays(step, *calls, dtype="float32"):
    """Compare a compiled step with the step itself, on copies of each tuple of arguments."""
    compiled = xp.compile(step)
    for args in calls:
        assert_same(compiled(*copied(args)), step(*copied(args)), dtype=dtype)
    return compiled


def recorded():
    """Return the compiled step, whose program has been tried."""
    compiled = xp.compile(step)
    for _ in range(2):
        compiled(*make_arguments())
    assert compiled.report == ""
    return compiled


@pytest.mark.parametrize("kind", ["sparse", "dense", "blank"])
def test_other_arrays_of_the_same_shapes_are_used(kind):
    calls = [make_arguments(), make_arguments(), *(make_arguments(seed=i, kind=kind) for i in (1, 2, 1))]
    assert assert_replays(step, *calls).report == ""


def test_what_is_returned_may_be_passed_on_or_forgotten():
    compiled = recorded()
    params, *rest = make_arguments(seed=1)
    first = compiled(copied(params), *rest)
    kept = copied(first)
    second = compiled(first[0], *rest)
    assert_same(second, step(kept[0], *rest))
    # From the beginning again, in between another's parameters.
    compiled(*make_arguments(seed=2))
    assert_same(compiled(copied(params), *rest), step(copied(params), *rest))


def shifted(x, shift=16):
    """Return a copy that begins so many bytes behind the beginning of a cache line."""
    raw = numpy.zeros(64 + shift + x.nbytes, numpy.uint8)
    begin = -raw.ctypes.data % 64 + shift
    copy = raw[begin : begin + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


@pytest.mark.parametrize("shift", [0, 4, 16, 32])
def test_parameters_may_begin_anywhere_in_memory(shift):
    compiled = recorded()
    params, *rest = make_arguments(seed=1)
    expected = copied(params)
    for _ in range(3):
        params, loss = compiled(params | {"weight": shifted(params["weight"], shift)}, *rest)
        expected, expected_loss = step(copied(expected), *rest)
        assert_same((params, loss), (expected, expected_loss))
    assert compiled.report == ""


def test_parameters_that_cannot_be_written_stay_as_they_are():
    compiled = recorded()
    params, *rest = make_arguments(seed=1)
    expected = step(copied(params), *rest)
    frozen = copied(params)
    for p in frozen.values():
        p.setflags(write=False)
    for _ in range(3):
        assert_same(compiled(frozen, *rest), expected)
        assert_same(frozen, params, factor=0.0)
    assert compiled.report == ""


def test_results_of_a_step_stay_as_they_are():
    compiled = recorded()
    params, *rest = make_arguments(seed=1)
    all_losses, kept = [], []
    for _ in range(4):
        params, loss = compiled(params, *rest)
        all_losses.append(loss)
        kept.append(float(loss))
    assert [float(loss) for loss in all_losses] == kept
    assert len(set(kept)) == 4


def test_other_dtypes_and_layouts_are_no_mistake():
    compiled = recorded()
    params, images, labels, indices = make_arguments(seed=1)
    weight = numpy.asfortranarray(params["weight"])
    for changed in (
        (params, images.astype(numpy.float32), labels, indices),
        (params, images, labels.astype(numpy.int64), indices),
        (params, images, labels, indices.astype(numpy.int64)),
        (params | {"weight": weight}, images, labels, indices),
        (params, images, labels, indices),
    ):
        assert_same(compiled(*copied(changed)), step(*copied(changed)))
    assert "C-contiguous" in recorded_with(params | {"weight": weight}, images, labels, indices).report


def recorded_with(*args):
    compiled = xp.compile(step)
    compiled(*args)
    return compiled


def test_images_that_a_trainer_is_given_anew_are_used():
    first, second = (
        xpnet.Dataset(make_images("sparse", (37, 29), seed=i), numpy.arange(37) % (2 + i)) for i in (0, 1)
    )
    (mine, calls), (plain, _) = (make_trainer(n, xpnet.mlp(29, 10, 3), first) for n in (xp, PLAIN))
    for data in (first, second, first):
        for trainer in (mine, plain):
            trainer.put(data)
            train(trainer, 37)
        assert_trained_alike(mine, plain)
    assert mine._compiled.report == ""
    assert len(calls) == 4


def test_images_that_change_in_place_are_used():
    """A data set sees a later change of its arrays; a trainer does when it is given the set again."""
    images = make_images("sparse", (37, 29))
    data = xpnet.Dataset(images, numpy.arange(37) % 3)
    (mine, _), (plain, _) = (make_trainer(n, xpnet.mlp(29, 10, 3), data) for n in (xp, PLAIN))
    for shift in (0, 1, 5):
        images[...] = numpy.roll(images, shift, axis=1)
        for trainer in (mine, plain):
            trainer.put(data)
            train(trainer, 37)
        assert_trained_alike(mine, plain)


def test_adams_count_of_steps_is_a_plain_int():
    data = xpnet.Dataset(make_images("sparse", (32, 29)), numpy.arange(32) % 3)
    trainer, _ = make_trainer(xp, xpnet.mlp(29, 3), data, optimizer=xpnet.Adam())
    for epoch in range(1, 4):
        trainer.epoch(numpy.arange(32, dtype=numpy.int32))
        assert type(trainer._state["step"]) is int
        assert trainer._state["step"] == 2 * epoch
    assert trainer._compiled.report == ""


def test_step_without_an_optimizer_gives_new_arrays_each_time():
    def loss_and_gradient(weight, bias, x, labels):
        return xp.nn.softmax_cross_entropy(xp.nn.linear(x, weight, bias), labels)

    compiled = xp.compile(loss_and_gradient)
    random = numpy.random.default_rng(0)
    weight, bias, *xs = (
        random.normal(size=size).astype(numpy.float32) for size in ((7, 3), 3, *[(5, 7)] * 4)
    )
    labels = numpy.arange(5, dtype=numpy.int32) % 3
    before = copied((weight, bias, labels))
    found = [compiled(weight, bias, x, labels) for x in xs]
    assert compiled.report == ""
    for (loss, gradient), x in zip(found, xs, strict=True):
        assert_same((loss, gradient), loss_and_gradient(weight, bias, x, labels))
    arrays = [a for pair in found[1:] for a in pair]
    assert not any(numpy.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))
    assert_same((weight, bias, labels), before, factor=0.0)


def test_step_that_returns_a_loss_alone_returns_it():
    args = make_arguments()

    def loss_alone(params, images, labels, indices):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=-0.5, dtype=xp.float32)
        outputs = xp.nn.linear(x, params["weight"], params["bias"])
        return xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels, indices))[0]

    assert assert_replays(loss_alone, args, args, make_arguments(seed=1)).report == ""


def test_batch_that_is_returned_is_filled():
    def gathered(images, indices, weight, bias):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
        return x, xp.nn.linear(x, weight, bias)

    params, images, _, indices = make_arguments()
    compiled = xp.compile(gathered)
    # As many arrays as are held cannot have the memory of those that were let go.
    held = [compiled(images, indices, params["weight"], params["bias"]) for _ in range(5)]
    for x, y in held:
        assert_same((x, y), gathered(images, indices, params["weight"], params["bias"]))


def test_arguments_that_are_passed_on_come_back():
    args = numpy.ones((2, 3), numpy.float32), {"a": 4, "b": [None, "text", True]}

    def passing(x, rest):
        return {"y": xp.nn.relu(x), "x": x, "rest": rest, "one": (rest["a"] + 1, ())}

    compiled = assert_replays(passing, args, args, (2 * args[0], {"a": 9, "b": [None, "text", True]}))
    assert compiled.report == ""
    assert compiled(*args)["x"] is args[0]


def test_number_among_the_arguments_is_used_where_it_goes():
    def adding(total, value, count):
        return xp.nn.accumulate(total, value, count), count + 1

    one, two = (numpy.array(x, numpy.float32) for x in (1.0, 2.0))
    assert_replays(adding, (one, two, 1), (one, two, 2), (two, one, 7))


def test_rate_that_is_an_array_is_used():
    def stepping(param, grad, lr):
        return xp.nn.sgd_step(param, grad, lr)

    param, grad = (numpy.random.default_rng(i).normal(size=(3, 4)).astype(numpy.float32) for i in (0, 1))
    rates = [numpy.array(x, numpy.float32) for x in (0.1, 0.1, 0.5)]
    assert_replays(stepping, *[(param, grad, lr) for lr in rates])


def test_weight_of_a_sum_that_is_an_array_is_used():
    one, two, three = (numpy.array(x, numpy.float32) for x in (1.0, 2.0, 5.0))
    assert_replays(xp.nn.accumulate, (one, two, two), (one, two, three), (three, two, one))


@pytest.mark.parametrize("tied", [(True, False), (False, True)])
def test_parameters_may_be_one_array_or_two(tied):
    def stepping(p, q, grad):
        return xp.nn.sgd_step(p, grad, 0.5), xp.nn.sgd_step(q, grad, 0.25)

    p, q, grad = (numpy.random.default_rng(i).normal(size=(3, 4)).astype(numpy.float32) for i in range(3))
    compiled = xp.compile(stepping)
    for is_tied in tied:
        mine, other = shifted(p), numpy.array(p)
        actual = compiled(mine, mine if is_tied else numpy.array(q), grad)
        assert_same(actual, stepping(other, other if is_tied else numpy.array(q), grad))


def test_lists_of_other_lengths_are_no_mistake():
    def last_of_the_first(xs, ys):
        return xp.nn.relu(xs[-1])

    a, b, c = (numpy.full((2, 2), x, numpy.float32) for x in (1, 2, 3))
    assert_replays(last_of_the_first, ([a], [b, c]), ([a], [b, c]), ([a, b], [c]))


def test_step_may_be_called_by_the_names_of_its_parameters():
    x = numpy.ones((2, 2), numpy.float32)
    compiled = xp.compile(lambda x, y: xp.nn.relu_backward(x, y))
    for _ in range(2):
        assert_same(compiled(x, y=-x), xp.nn.relu_backward(x, -x))


def test_error_in_a_step_is_the_callers_and_the_next_call_is_right():
    calls = []

    def failing(x):
        y = xp.nn.relu(x)
        calls.append(y)
        if len(calls) == 1:
            raise ValueError("the first one fails")
        return y

    nn, compiled, x = xp.nn, xp.compile(failing), numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    with pytest.raises(ValueError, match="the first one fails"):
        compiled(x)
    assert xp.nn is nn
    for factor in (1, 2, 3):
        assert_same(compiled(factor * x), nn.relu(factor * x))
    assert compiled.report == ""
    assert len(calls) == 3


def test_step_inside_a_step_is_right():
    inner = xp.compile(lambda x: xp.nn.sigmoid(x))
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    assert_replays(lambda x: xp.nn.relu(inner(x)), *[(x,)] * 4, (2 * x,))


def test_two_threads_may_call_one_step_at_once():
    compiled = recorded()
    found, errors = {}, []
    barrier = threading.Barrier(2)

    def work(seed):
        try:
            params, *rest = make_arguments(seed=seed)
            barrier.wait()
            for _ in range(200):
                params, _ = compiled(params, *rest)
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
            expected, _ = step(expected, *rest)
        assert_same(params, expected, factor=FACTOR)


def test_two_threads_may_record_at_once():
    """Each step begins before the other has ended; then the kernels are where they were."""
    nn, entered, left = xp.nn, threading.Event(), threading.Event()
    x = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    found = []

    def first(x):
        entered.wait(10)
        return xp.nn.relu(x)

    def second(x):
        entered.set()
        left.wait(1)  # Should the first one wait for this one, there is no deadlock.
        return xp.nn.sigmoid(x)

    def call(step, done):
        found.append((step, xp.compile(step)(x)))
        done.set()

    begun = threading.Thread(target=call, args=(first, left))
    begun.start()
    while xp.nn is nn and begun.is_alive():
        pass
    other = threading.Thread(target=call, args=(second, threading.Event()))
    other.start()
    begun.join()
    other.join()
    restored, xp.nn = xp.nn is nn, nn
    assert restored
    for step, y in found:
        assert_same(y, (nn.relu if step is first else nn.sigmoid)(x))


# Kernels that add up or call `exp`, on arrays that lie beside each other, as small new arrays often do.
NEIGHBOURS = {
    "softmax": lambda z, t, out: softmax._softmax(z, out),
    "softmax_backward": lambda z, t, out: softmax._softmax_backward(z, t, out),
    "log_softmax": lambda z, t, out: softmax._log_softmax(z, out),
    "log_softmax_backward": lambda z, t, out: softmax._log_softmax_backward(z, t, out),
    "softmax_cross_entropy": lambda z, t, out: losses._softmax_cross_entropy(z, CLASSES, out, numpy.empty(5)),
    "sigmoid_cross_entropy": lambda z, t, out: losses._sigmoid_cross_entropy(*map(numpy.ravel, (z, t, out))),
    "squared_error": lambda z, t, out: losses._squared_error(*map(numpy.ravel, (z, t, out))),
    "sigmoid": lambda z, t, out: activations.sigmoid_into(*map(numpy.ravel, (z, out))),
    "momentum_step": lambda z, t, out: momentum_in_place(*map(numpy.ravel, (z, out, t)), 0.1, 0.9, 0.1),
    "sum_rows": lambda z, t, out: dense.sum_rows_into(z, out[0]),
}
CLASSES = numpy.arange(5, dtype=numpy.int32)


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
@pytest.mark.parametrize("kernel", NEIGHBOURS)
def test_bits_do_not_depend_on_where_arrays_lie(kernel, dtype):
    """LLVM keeps two versions of a loop, one for arrays that might overlap; each adds up in its order."""
    random = numpy.random.default_rng(0)
    values = [random.normal(size=(5, 10)).astype(dtype) for _ in range(3)]
    buffer, found = numpy.empty(2000, dtype), set()
    # The output behind the inputs with a gap of some elements, then before them.
    for gap in range(80):
        for places in ((0, 50 + gap, 100 + 2 * gap), (100 + 2 * gap, 50 + gap, 0), (0, 500 + gap, 50 + gap)):
            arrays = [buffer[place : place + 50].reshape(5, 10) for place in places]
            for a, value in zip(arrays, values, strict=True):
                a[...] = value
            result = NEIGHBOURS[kernel](*arrays)
            found.add(
                (numpy.asarray(result, dtype).tobytes() if result is not None else b"", arrays[2].tobytes())
            )
    assert len(found) == 1


FIT = """
import hashlib, numpy, xpnet
from xpnet_numba import xp
random = numpy.random.default_rng(0)
images = random.integers(0, 256, (700, 196)).astype(numpy.uint8)
images[random.random(images.shape) < {zeros}] = 0
data = xpnet.Dataset(images, numpy.arange(700) % 10)
layers = xpnet.Linear(196, 64), xpnet.{layer}(), xpnet.Linear(64, 33), xpnet.Linear(33, 10)
model = xpnet.Sequential(*layers)
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    run = xpnet.fit(
        xp, model, data, optimizer=xpnet.{rule}, epochs=3, batch_size=96, offset={offset}, dtype=dtype,
        seed=1, test=data,
    )
    for p in run.params.values():
        digest.update(xp.to_host(p).tobytes())
    digest.update(repr([(e.train_loss, e.test_loss) for e in run.history]).encode())
print(digest.hexdigest())
"""
SOURCES = [Path(__file__).parents[2] / folder for folder in ("", "backends")]


def run(code, **environment):
    """Return what Python code prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES)), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "options",
    [
        {"zeros": 0.8, "layer": "Sigmoid", "rule": "Momentum(0.3)", "offset": -0.5},
        {"zeros": 0.0, "layer": "ReLU", "rule": "Adam(0.001)", "offset": 0.0},
        {"zeros": 0.8, "layer": "Tanh", "rule": "Nesterov(0.3)", "offset": 0.0},
    ],
    ids=["sparse", "dense", "by-host"],
)
def test_fit_gives_the_same_bits_with_any_number_of_threads(options):
    code = FIT.format(**options)
    # The BLAS, which serves the evaluation and what is called between stages, has one thread in both.
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    hashes = {run(code, NUMBA_NUM_THREADS=threads, **limits) for threads in "1223"}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64


UNUSUAL = {
    "no rows": ("linear", ((0, 3), (3, 2), (2,)), "float32"),
    "no features": ("linear", ((4, 0), (0, 2), (2,)), "float32"),
    "a vector": ("linear", ((3,), (3, 2), (2,)), "float32"),
    "one bias for all": ("linear", ((4, 3), (3, 2), (1,)), "float32"),
    "whole numbers": ("relu", ((4, 3),), "int32"),
    "bytes": ("relu", ((4, 3),), "uint8"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_kernels_do_not_expect_is_not_given_to_them(name):
    """Kernels trust shapes and dtypes; what NumPy would take beyond those is left to the function."""
    function, shapes, dtype = UNUSUAL[name]
    arrays = [numpy.arange(numpy.prod(shape)).reshape(shape).astype(dtype) for shape in shapes]

    def step(*arrays):
        return getattr(xp.nn, function)(*arrays)

    try:
        expected = step(*arrays)
    except ValueError:
        pytest.skip("the function itself refuses this")
    compiled = xp.compile(step)
    for _ in range(4):
        numpy.testing.assert_array_equal(compiled(*arrays), expected)


def test_sparse_images_do_not_meet_a_bias_of_another_shape():
    """Such a batch is never written out, so what is left to the function itself cannot be replayed."""
    images, indices = make_images("sparse", (40, 30)), numpy.arange(16, dtype=numpy.int32)
    weight, bias = numpy.ones((30, 5), numpy.float32), numpy.ones(1, numpy.float32)

    def stepping(images, indices, weight, bias):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
        return xp.nn.linear(x, weight, bias)

    compiled = xp.compile(stepping)
    for _ in range(4):
        assert_same(compiled(images, indices, weight, bias), stepping(images, indices, weight, bias))
    assert "`nn.linear` is given images and arrays of unusual shapes" in compiled.report


def test_blas_has_its_threads_back_after_recordings():
    before = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    compiled = xp.compile(lambda x: xp.nn.relu(x))
    for _ in range(3):
        compiled(numpy.ones((2, 2), numpy.float32))
    assert [library["num_threads"] for library in threadpoolctl.threadpool_info()] == before
