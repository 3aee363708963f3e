"""Trainings that backends replay on processors, beside twins that run every step as it is written."""

import numpy
import pytest
import steps
from checking import assert_close
from hypothesis import given, settings
from steps import FACTOR, OPTIMIZERS, PLAIN, assert_trained_alike, make_images, make_trainer, train

import xpnet
from xpnet.batches import Scaling


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


@settings(deadline=None, derandomize=True, max_examples=100)
@given(steps.trainings())
def test_replayed_training_equals_plain_training(xp, training):
    steps.assert_trains_alike(xp, training)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_rehearsed_without_a_trace(xp, optimizer):
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


DROPPING = xpnet.Sequential(
    xpnet.Dropout(0.1),
    xpnet.Linear(29, 10),
    xpnet.Dropout(0.3),
    xpnet.ReLU(),
    xpnet.Linear(10, 3),
    xpnet.Dropout(0.3),
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_is_replayed_and_trains_as_in_the_twin(xp, dtype):
    data = xpnet.Dataset(make_images("sparse", (37, 29)), numpy.arange(37) % 3)
    (mine, calls), (plain, _) = (make_trainer(n, DROPPING, data, dtype=dtype) for n in (xp, PLAIN))
    mine.rehearse()
    calls.clear()
    sums, expected = train(mine, 37), train(plain, 37)
    assert mine.report == ""
    assert calls == []
    assert_trained_alike(mine, plain, dtype=dtype)
    assert_close(PLAIN, numpy.array(sums), expected, dtype=dtype, factor=FACTOR)


@pytest.mark.parametrize("shape", [(7, 9), (3, 128), (2, 3, 5), (131,), (1,), ()])
def test_dropout_in_a_step_of_ones_own_has_new_masks_at_each_call(xp, shape):
    stream = xpnet.Stream(5, "dropout")

    def step(xp, x, number):
        masked, _ = xpnet.Dropout(0.5)(xp, {}, x, stream=stream.at(number))
        return masked, number + 1

    compiled, number, x = xp.compile(step), 1, numpy.ones(shape, "float32")
    for i in range(1, 8):
        y, number = compiled(xp, x, number)
        expected, _ = step(PLAIN, x, i)
        numpy.testing.assert_array_equal(y, expected)
    assert (compiled.report, number) == ("", 8)
    y, _ = compiled(xp, x, 2)
    numpy.testing.assert_array_equal(y, step(PLAIN, x, 2)[0])


def test_stream_that_the_step_draws_from_itself_is_not_replayed(xp):
    stream, other = xpnet.Stream(5, "dropout"), xpnet.Stream(5, "dropout")
    compiled = xp.compile(lambda xp, x: xpnet.Dropout(0.5)(xp, {}, x, stream=stream)[0])
    x = numpy.ones((7, 9), "float32")
    for _ in range(5):
        y, _ = xpnet.Dropout(0.5)(PLAIN, {}, x, stream=other)
        numpy.testing.assert_array_equal(compiled(xp, x), y)
    expected = "the step draws random numbers on the host (`Dropout` does not, given `stream.at(step)`)"
    assert compiled.report == expected


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
def test_rule_of_ones_own_trains_as_in_the_twin(xp, update):
    data = xpnet.Dataset(make_images("dense", (37, 12)), numpy.arange(37) % 3)
    (mine, _), (plain, _) = (
        make_trainer(n, xpnet.mlp(12, 3), data, optimizer=Own(update), scaling=Scaling(1e-3))
        for n in (xp, PLAIN)
    )
    train(mine, 37)
    train(plain, 37)
    assert_trained_alike(mine, plain)


def compiled_with(xp, update):
    """Return a step that was trained with a rule, and how often its Python ran."""
    data = xpnet.Dataset(make_images("dense", (37, 12)), numpy.arange(37) % 3)
    trainer, calls = make_trainer(xp, xpnet.mlp(12, 3), data, optimizer=Own(update))
    train(trainer, 37)
    return trainer.compiled, len(calls)


COMPILED = [
    with_new_arrays,
    with_a_rate_divided_by_the_step,
    with_a_rate_to_the_power_of_the_step,
    with_a_product_of_the_step,
]


@pytest.mark.parametrize("update", COMPILED)
def test_rule_of_operators_and_arithmetic_is_compiled(xp, update):
    compiled, runs = compiled_with(xp, update)
    assert compiled.report == ""
    # Traced once in vain; then each of the two batch sizes is traced and tried.
    assert runs == 1 + 2 * 2
    assert len(compiled.programs) == 2


REASONS = {
    in_place: "p -= 0.1 * grad` changes an array in place, other than by `xp.nn`",
    by_out: "return numpy.subtract(p, 0.1 * grad, out=p)` writes to an array, other than by `xp.nn`",
    with_decay_of_the_gradient_in_place: "grad *= 0.5` changes an array in place, other than by `xp.nn`",
    with_half_a_step_more: "return xp.nn.sgd_step(p, grad, 0.1 / float(step + 0.5))` computes with a",
}


@pytest.mark.parametrize("update", REASONS)
def test_report_names_the_line_of_a_rule_that_is_not_compiled(xp, update):
    compiled, runs = compiled_with(xp, update)
    number = update.__code__.co_firstlineno + 1
    assert compiled.report.startswith(f"`test_replayed_training.py:{number}: {REASONS[update]}")
    assert runs >= 12


def test_more_shapes_than_there_are_programs_take_turns(xp):
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
    assert mine.compiled.report == ""
    assert_trained_alike(mine, plain)


def test_images_that_a_trainer_is_given_anew_are_used(xp):
    first, second = (
        xpnet.Dataset(make_images("sparse", (37, 29), seed=i), numpy.arange(37) % (2 + i)) for i in (0, 1)
    )
    (mine, calls), (plain, _) = (make_trainer(n, xpnet.mlp(29, 10, 3), first) for n in (xp, PLAIN))
    for data in (first, second, first):
        for trainer in (mine, plain):
            trainer.put(data)
            train(trainer, 37)
        assert_trained_alike(mine, plain)
    assert mine.compiled.report == ""
    assert len(calls) == 4


def test_images_that_change_in_place_are_used(xp):
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


def test_adams_count_of_steps_is_a_plain_int(xp):
    data = xpnet.Dataset(make_images("sparse", (32, 29)), numpy.arange(32) % 3)
    trainer, _ = make_trainer(xp, xpnet.mlp(29, 3), data, optimizer=xpnet.Adam())
    for epoch in range(1, 4):
        trainer.epoch(numpy.arange(32, dtype=numpy.int32))
        assert type(trainer._state["step"]) is int
        assert trainer._state["step"] == 2 * epoch
    assert trainer.compiled.report == ""
