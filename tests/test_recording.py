"""What is noted of a step while it runs as ever."""

import threading

import numpy
import pytest

import xpnet
from xpnet.recording import (
    Counter,
    NotReplayableError,
    Reference,
    are_apart,
    leaves,
    plain,
    rebuilt,
    record,
)

xp = xpnet.Namespace("plain", numpy)


def array(*shape, seed=0):
    return numpy.random.default_rng(seed).normal(size=shape).astype(numpy.float32)


def reason(step, *args):
    """Return why a step cannot be replayed, and see that it has given its result all the same."""
    with pytest.raises(NotReplayableError) as caught:
        record(xp, step, args)
    text, _ = caught.value.args
    return text


def names(recording):
    return [call.name for call in recording.calls]


def test_leaves_come_in_order_with_the_keys_of_dicts():
    x, y = array(2), array(3)
    number, text = 2.5, "text"
    found = leaves({"b": (x, [y, number]), "a": text})
    assert ("b", "a") in [leaf for leaf in found if type(leaf) is tuple]
    places = [next(i for i, leaf in enumerate(found) if leaf is one) for one in (x, y, number, text)]
    assert places == sorted(places)
    assert leaves(x)[0] is x


def test_leaves_tell_dicts_apart_by_their_keys_and_their_order():
    assert leaves({"a": 1, "b": 2}) != leaves({"b": 1, "a": 2})
    assert leaves({"a": 1}) != leaves({"c": 1})


@pytest.mark.parametrize("other", [([1, 2], [3]), (1, 2, 3), ([[1], 2, 3],), ([1], [2], [3])])
def test_leaves_tell_trees_of_other_forms_apart(other):
    assert leaves(([1], [2, 3])) != leaves(other)


def test_rebuilt_tree_has_the_form_and_the_other_leaves():
    tree = {"b": (1.0, [2.0, 3.0]), "a": {"c": 4.0}, "d": ()}
    found = leaves(tree)
    assert rebuilt(tree, iter(found)) == tree
    changed = [10 * x if isinstance(x, float) else x for x in found]
    result = rebuilt(tree, iter(changed))
    assert result == {"b": (10.0, [20.0, 30.0]), "a": {"c": 40.0}, "d": ()}
    assert list(result) == ["b", "a", "d"]
    assert type(result["b"]) is tuple


def test_calls_are_noted_by_the_arrays_that_they_share():
    x, weight, bias = array(4, 3), array(3, 2), array(2)

    def step(params, x):
        y = xp.nn.relu(xp.nn.linear(x, params["weight"], params["bias"]))
        return y, xp.nn.relu_backward(dy=y, y=y)

    (y, dz), recording = record(xp, step, ({"weight": weight, "bias": bias}, x))
    numpy.testing.assert_allclose(y, numpy.maximum(x @ weight + bias, 0), rtol=1e-5, atol=1e-6)
    assert names(recording) == ["linear", "relu", "relu_backward"]
    linear, relu, backward = recording.calls
    # Before them among the leaves stand the forms: of both kinds of arguments, of those, and of the first.
    assert [v.argument for v in recording.values] == [3, 4, 5, None, None, None]
    assert [v.array is a for v, a in zip(recording.values, (weight, bias, x), strict=False)] == [True] * 3
    assert linear.arguments == {"x": 2, "weight": 0, "bias": 1}
    assert list(linear.results) == [relu.arguments["z"]]
    assert backward.arguments == {"y": relu.results[0], "dy": relu.results[0]}
    assert recording.result == (relu.results[0], backward.results[0])
    assert all(type(r) is Reference for r in recording.result)
    assert recording.values[backward.results[0]].array is dz


def test_arrays_are_known_by_identity_and_not_by_value():
    x = array(2, 3)
    equal = numpy.array(x)

    def step(x, y):
        return xp.nn.relu_backward(x, y)

    _, recording = record(xp, step, (x, equal))
    assert recording.calls[0].arguments == {"y": 0, "dy": 1}


def test_array_that_is_passed_twice_is_refused():
    x = array(2, 3)
    assert reason(lambda x, y: xp.nn.relu_backward(x, y), x, x) == "the step is given one array twice"


def test_views_of_one_memory_are_refused_if_one_is_changed():
    w = array(6)
    text = "the step is given arrays that share memory, and changes one of them"
    for one, other in ((w, w[:]), (w[:4], w[2:]), (w[2:4], w), (w, w[2:4])):
        size = one.shape
        assert (
            reason(lambda w, g, v: (xp.nn.sgd_step(w, g, 1.0), xp.nn.relu(v)), one, array(*size), other)
            == text
        )
    record(xp, lambda w, v: xp.nn.relu_backward(w, v), (w, w[:]))
    record(xp, lambda w, g: xp.nn.sgd_step(w, g, 1.0), (w[:3], w[3:]))


@pytest.mark.parametrize(
    ("spans", "changed", "apart"),
    [
        ({0: (0, 4), 1: (4, 8)}, {0}, True),
        ({0: (0, 5), 1: (4, 8)}, {0}, False),
        ({0: (0, 5), 1: (4, 8)}, {1}, False),
        ({0: (0, 5), 1: (4, 8)}, set(), True),
        ({0: (0, 9), 1: (1, 2), 2: (5, 6)}, {2}, False),
        ({0: (0, 9), 1: (1, 2), 2: (9, 12)}, {2}, True),
        ({0: (4, 8), 1: (4, 4), 2: (6, 6)}, {0, 1}, True),
        ({0: (4, 8), 1: (4, 8)}, {1}, False),
    ],
)
def test_arrays_are_apart_by_where_they_begin_and_end(spans, changed, apart):
    assert are_apart(spans, changed) is apart


def test_optimizer_returns_the_arrays_that_it_changed():
    param, grad, velocity = (array(2, 3, seed=i) for i in range(3))

    def step(param, grad, velocity):
        once = xp.nn.momentum_step(param, grad, velocity, 0.1, beta=0.9)
        return xp.nn.momentum_step(once[0], grad, once[1], 0.2, 0.9)

    _, recording = record(xp, step, (param, grad, velocity))
    assert len(recording.values) == 3
    assert recording.result == (0, 2)
    assert [tuple(call.results) for call in recording.calls] == [(0, 2), (0, 2)]
    assert recording.calls[0].arguments == {"param": 0, "grad": 1, "velocity": 2, "lr": 0.1, "beta": 0.9}


def test_result_that_is_none_is_none():
    x, weight, dy = array(4, 3), array(3, 2), array(4, 2)
    step = lambda *args: xp.nn.linear_backward(*args, input_gradient=False)  # noqa: E731
    result, recording = record(xp, step, (x, weight, dy))
    (call,) = recording.calls
    assert result[0] is None
    assert call.results[0] is None
    assert recording.result == (None, *call.results[1:])
    assert call.arguments["input_gradient"] is False


def test_defaults_are_noted_with_the_arguments():
    _, recording = record(
        xp, lambda *args: xp.nn.linear_backward(*args), (array(4, 3), array(3, 2), array(4, 2))
    )
    assert list(recording.calls[0].arguments) == ["x", "weight", "dy", "input_gradient"]
    assert recording.calls[0].arguments["input_gradient"] is True


def test_array_made_outside_is_named_by_function_and_parameter():
    x = array(2, 3)
    text = "is an array that neither came as an argument nor was made by `xp.nn`"
    assert reason(lambda x: xp.nn.relu(2 * x), x) == f"`z` of `nn.relu` {text}"
    assert reason(lambda x: xp.nn.relu(x[:]), x) == f"`z` of `nn.relu` {text}"
    made = reason(lambda x: xp.nn.relu_backward(xp.nn.relu(x), dy=xp.ones_like(x)), x)
    assert made == f"`dy` of `nn.relu_backward` {text}"


def test_number_of_numpys_is_a_number():
    _, recording = record(xp, lambda x, y: xp.nn.sgd_step(x, y, numpy.float64(0.1)), (array(2), array(2)))
    assert recording.calls[0].arguments["lr"] == 0.1


def test_returned_array_made_outside_is_said_to_be_returned():
    x = array(2, 3)
    text = "the step returns an array that neither came as an argument nor was made by `xp.nn`"
    assert reason(lambda x: 2 * xp.nn.relu(x), x) == text
    assert reason(lambda x: {"a": [xp.nn.relu(x), x.sum()]}, x) == text


def test_first_reason_is_the_one_that_is_given():
    text = reason(lambda x: xp.nn.tanh(xp.nn.relu(2 * x) + 1) + 1, array(2, 3))
    assert text.startswith("`z` of `nn.relu`")


def test_step_that_cannot_be_replayed_has_run_once_and_given_its_result():
    runs = []

    def step(x, n):
        runs.append(n)
        return {"y": 2 * xp.nn.relu(x), "n": n + 1, "kept": [x, n]}

    x = array(2, 3)
    with pytest.raises(NotReplayableError) as caught:
        record(xp, step, (x, 3))
    _, result = caught.value.args
    assert len(runs) == 1
    numpy.testing.assert_array_equal(result["y"], 2 * numpy.maximum(x, 0))
    assert result["kept"][0] is x
    assert (result["n"], result["kept"][1]) == (4, 3)
    assert {type(result["n"]), type(result["kept"][1])} == {int}


@pytest.mark.parametrize("make", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1]])
def test_argument_in_another_layout_is_refused(make):
    assert "C-contiguous" in reason(lambda x: xp.nn.relu(x), make(array(4, 6)))


@pytest.mark.parametrize("value", [0.5, 1j, {1, 2}, b"x", numpy.float32, threading.Lock()])
def test_argument_of_another_kind_is_refused_by_its_name(value):
    text = reason(lambda x, _: xp.nn.relu(x), array(2, 3), value)
    assert text == (f"the step takes what is neither an array nor a whole number: {type(value).__name__}")


@pytest.mark.parametrize("value", [0.5, 7, 1j, {1, 2}])
def test_result_of_another_kind_is_refused_by_its_name(value):
    text = reason(lambda x: (xp.nn.relu(x), value), array(2, 3))
    assert text == f"the step returns what is neither an array nor an argument: {type(value).__name__}"


@pytest.mark.parametrize("value", [None, True, "text", ()])
def test_what_is_fixed_may_be_passed_and_returned(value):
    x = array(2, 3)
    result, recording = record(xp, lambda x, v: (xp.nn.relu(x), v), (x, value))
    assert result[1] is value
    assert recording.result[1] is value


def counting(function, n=3):
    """Return the result and the recording of a step that makes a number of the number that it is given."""
    param, grad = array(2, 3), array(2, 3, seed=1)
    moments = numpy.zeros((2, 3), numpy.float32), numpy.zeros((2, 3), numpy.float32)

    def step(n, param, grad, mean, variance):
        number = function(n)
        return number, xp.nn.adam_step(param, grad, mean, variance, number, 0.1, 0.9, 0.99, 1e-8)

    return record(xp, step, (n, param, grad, *moments))


@pytest.mark.parametrize(
    ("function", "added"), [(lambda n: n, 0), (lambda n: n + 1, 1), (lambda n: n + 2 + 5, 7)]
)
def test_number_that_is_added_to_is_counted(function, added):
    result, recording = counting(function)
    counter = recording.result[0]
    assert (recording.leaves[counter.argument], counter.added) == (3, added)
    assert type(result[0]) is int
    assert result[0] == 3 + added
    assert recording.calls[0].arguments["step"].added == added


USES = {
    "half more": lambda n: n + 0.5,
    "product": lambda n: 2 * n,
    "difference": lambda n: 9 - n,
    "quotient": lambda n: n // 2,
    "power": lambda n: n**2,
    "comparison": lambda n: n < 100,
    "equality": lambda n: n == 100,
    "truth": lambda n: n or 1,
    "float": float,
}


@pytest.mark.parametrize("use", USES)
def test_number_that_is_computed_with_is_refused_and_right(use):
    found = []

    def step(n, x):
        found.append(USES[use](n))
        return xp.nn.relu(x)

    assert "whole number" in reason(step, 3, array(2, 3))
    assert found[0] == USES[use](3)


def test_number_is_plain_where_kernels_meet_it():
    counter = Counter.make(3, 0, 0, lambda: pytest.fail("nothing was computed"))
    assert type(plain(counter)) is int
    assert (plain(counter + 2), (counter + 2).added, (1 + counter).added) == (5, 2, 1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_kernels_are_put_back_after_an_error_in_the_step(error):
    nn = xp.nn

    def step(x):
        assert xp.nn is not nn
        xp.nn.relu(x)
        raise error("no more")

    with pytest.raises(error, match="no more"):
        record(xp, step, (array(2, 3),))
    assert xp.nn is nn


def test_kernels_are_put_back_after_a_step():
    nn = xp.nn
    record(xp, lambda x: xp.nn.relu(x), (array(2, 3),))
    assert xp.nn is nn
    reason(lambda x: xp.nn.relu(x) + 1, array(2, 3))
    assert xp.nn is nn


def test_calls_of_other_threads_are_not_the_steps():
    x, other = array(2, 3), array(3, 2)

    def step(x):
        thread = threading.Thread(target=lambda: xp.nn.sigmoid(xp.nn.relu(other + 1)))
        thread.start()
        thread.join()
        return xp.nn.relu(x)

    _, recording = record(xp, step, (x,))
    assert names(recording) == ["relu"]


def test_kernel_kept_from_before_is_noticed_by_what_it_made():
    relu = xp.nn.relu
    assert reason(lambda x: xp.nn.sigmoid(relu(x)), array(2, 3)).startswith("`z` of `nn.sigmoid`")
