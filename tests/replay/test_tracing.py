"""What is noted of a step while it runs normally."""

import concurrent.futures
import copy
import math
import threading
import types

import numpy
import pytest

import xpnet
from xpnet.replay.counting import as_int
from xpnet.replay.trace import NotReplayableError
from xpnet.replay.tracing import trace

xp = xpnet.Namespace("plain", numpy)

OUTSIDE = "an array that neither came as an argument nor was made by `xp.nn` of the step's own `xp`"


def array(*shape, seed=0):
    return numpy.random.default_rng(seed).normal(size=shape).astype(numpy.float32)


def reason(step, *args):
    """Return why a step cannot be replayed, and see that it has given its result all the same."""
    with pytest.raises(NotReplayableError) as caught:
        trace(xp, step, args)
    text, _ = caught.value.args
    return text


def names(traced):
    return [call.name for call in traced.calls]


def test_calls_are_noted_by_the_arrays_that_they_share():
    x, weight, bias = array(4, 3), array(3, 2), array(2)

    def step(xp, params, x):
        y = xp.nn.relu(xp.nn.linear(x, params["weight"], params["bias"]))
        return y, xp.nn.relu_backward(dy=y, y=y)

    (y, _), traced = trace(xp, step, ({"weight": weight, "bias": bias}, x))
    numpy.testing.assert_allclose(y, numpy.maximum(x @ weight + bias, 0), rtol=1e-5, atol=1e-6)
    assert names(traced) == ["linear", "relu", "relu_backward"]
    linear, relu, backward = traced.calls
    # Before them among the leaves stand the forms: of both kinds of arguments, of those, and of the first.
    assert [value.leaf for value in traced.values] == [3, 4, 5, None, None, None]
    assert [array is a for array, a in zip(traced.arguments.values(), (weight, bias, x), strict=True)]
    assert linear.arrays == dict(zip(("weight", "bias", "x"), traced.arguments, strict=True))
    assert linear.sizes == {"batch": 4, "n_in": 3, "n_out": 2}
    (z,), (y,), (dz,) = (call.results for call in traced.calls)
    assert (relu.arrays, backward.arrays) == ({"z": z}, {"y": y, "dy": y})
    assert traced.result == (y, dz)
    assert linear.result("z") is z


def test_arrays_are_known_by_identity_and_not_by_value():
    x = array(2, 3)
    equal = numpy.array(x)

    def step(xp, x, y):
        return xp.nn.relu_backward(x, y)

    _, traced = trace(xp, step, (x, equal))
    assert traced.calls[0].arrays == dict(zip(("y", "dy"), traced.arguments, strict=True))


def test_array_that_is_passed_twice_is_refused():
    x = array(2, 3)
    assert reason(lambda xp, x, y: xp.nn.relu_backward(x, y), x, x) == "the step is given one array twice"


def test_views_of_one_memory_are_refused_if_one_is_changed():
    w = array(6)
    text = "the step is given arrays that share memory, and changes one of them"
    for one, other in ((w, w[:]), (w[:4], w[2:]), (w[2:4], w), (w, w[2:4])):
        size = one.shape
        assert (
            reason(lambda xp, w, g, v: (xp.nn.sgd_step(w, g, 1.0), xp.nn.relu(v)), one, array(*size), other)
            == text
        )
    trace(xp, lambda xp, w, v: xp.nn.relu_backward(w, v), (w, w[:]))
    trace(xp, lambda xp, w, g: xp.nn.sgd_step(w, g, 1.0), (w[:3], w[3:]))


def test_optimizer_returns_the_arrays_that_it_changed():
    param, grad, velocity = (array(2, 3, seed=i) for i in range(3))

    def step(xp, param, grad, velocity):
        once = xp.nn.momentum_step(param, grad, velocity, 0.1, beta=0.9)
        return xp.nn.momentum_step(once[0], grad, once[1], 0.2, 0.9)

    _, traced = trace(xp, step, (param, grad, velocity))
    param, grad, velocity = traced.values
    assert traced.result == (param, velocity)
    assert [call.results for call in traced.calls] == [(param, velocity)] * 2
    assert [call.changed for call in traced.calls] == [(param, velocity)] * 2
    assert traced.calls[0].arrays == {"param": param, "grad": grad, "velocity": velocity}
    assert traced.calls[0].numbers == {"lr": 0.1, "beta": 0.9, "weight_decay": 0.0}


def test_result_that_is_none_is_none():
    x, weight, dy = array(4, 3), array(3, 2), array(4, 2)
    step = lambda xp, *args: xp.nn.linear_backward(*args, input_gradient=False)  # noqa: E731
    result, traced = trace(xp, step, (x, weight, dy))
    (call,) = traced.calls
    assert result[0] is None
    assert call.results[0] is None
    assert traced.result == (None, *call.results[1:])
    assert call.numbers["input_gradient"] is False


def test_defaults_are_noted_with_the_arguments():
    _, traced = trace(
        xp, lambda xp, *args: xp.nn.linear_backward(*args), (array(4, 3), array(3, 2), array(4, 2))
    )
    assert list(traced.calls[0].arrays) == ["x", "weight", "dy"]
    assert traced.calls[0].numbers == {"input_gradient": True}


def test_array_made_outside_is_named_by_function_and_parameter():
    x = array(2, 3)
    text = f"is {OUTSIDE}"
    assert reason(lambda xp, x: xp.nn.relu(2 * x), x) == f"`z` of `nn.relu` {text}"
    assert reason(lambda xp, x: xp.nn.relu(x[:]), x) == f"`z` of `nn.relu` {text}"
    made = reason(lambda xp, x: xp.nn.relu_backward(xp.nn.relu(x), dy=xp.ones_like(x)), x)
    assert made == f"`dy` of `nn.relu_backward` {text}"


def test_number_of_numpys_is_a_number():
    _, traced = trace(xp, lambda xp, x, y: xp.nn.sgd_step(x, y, numpy.float64(0.1)), (array(2), array(2)))
    lr, _ = traced.calls[0].numbers.values()
    assert (lr, type(lr)) == (0.1, numpy.float64)


def test_returned_array_made_outside_is_said_to_be_returned():
    x = array(2, 3)
    text = f"the step returns {OUTSIDE}"
    assert reason(lambda xp, x: 2 * xp.nn.relu(x), x) == text
    assert reason(lambda xp, x: {"a": [xp.nn.relu(x), x.sum()]}, x) == text


def test_first_reason_is_the_one_that_is_given():
    text = reason(lambda xp, x: xp.nn.tanh(xp.nn.relu(2 * x) + 1) + 1, array(2, 3))
    assert text.startswith("`z` of `nn.relu`")


def test_step_that_cannot_be_replayed_has_run_once_and_given_its_result():
    runs = []

    def step(xp, x, n):
        runs.append(n)
        return {"y": 2 * xp.nn.relu(x), "n": n + 1, "kept": [x, n]}

    x = array(2, 3)
    with pytest.raises(NotReplayableError) as caught:
        trace(xp, step, (x, 3))
    _, result = caught.value.args
    assert len(runs) == 1
    numpy.testing.assert_array_equal(result["y"], 2 * numpy.maximum(x, 0))
    assert result["kept"][0] is x
    assert (result["n"], result["kept"][1]) == (4, 3)
    assert {type(result["n"]), type(result["kept"][1])} == {int}


@pytest.mark.parametrize("make", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1]])
def test_argument_in_another_layout_is_refused(make):
    assert "C-contiguous" in reason(lambda xp, x: xp.nn.relu(x), make(array(4, 6)))


@pytest.mark.parametrize("value", [0.5, 1j, {1, 2}, b"x", numpy.float32, threading.Lock()])
def test_argument_of_another_kind_is_refused_by_its_name(value):
    text = reason(lambda xp, x, _: xp.nn.relu(x), array(2, 3), value)
    assert text == (f"the step takes what is neither an array nor a whole number: {type(value).__name__}")


@pytest.mark.parametrize("value", [0.5, 7, 1j, {1, 2}])
def test_result_of_another_kind_is_refused_by_its_name(value):
    text = reason(lambda xp, x: (xp.nn.relu(x), value), array(2, 3))
    assert text == f"the step returns what is neither an array nor an argument: {type(value).__name__}"


@pytest.mark.parametrize("value", [None, True, "text", ()])
def test_what_is_fixed_may_be_passed_and_returned(value):
    x = array(2, 3)
    result, traced = trace(xp, lambda xp, x, v: (xp.nn.relu(x), v), (x, value))
    assert result[1] is value
    assert traced.result[1] is value


def counting(function, n=3):
    """Return the result and the traced of a step that makes a number of the number that it is given."""
    param, grad = array(2, 3), array(2, 3, seed=1)
    moments = numpy.zeros((2, 3), numpy.float32), numpy.zeros((2, 3), numpy.float32)

    def step(xp, n, param, grad, mean, variance):
        number = function(n)
        return number, xp.nn.adam_step(param, grad, mean, variance, number, 0.1, 0.9, 0.99, 1e-8)

    return trace(xp, step, (n, param, grad, *moments))


@pytest.mark.parametrize(
    ("function", "added"), [(lambda n: n, 0), (lambda n: n + 1, 1), (lambda n: n + 2 + 5, 7)]
)
def test_number_that_is_added_to_is_counted(function, added):
    result, traced = counting(function)
    running = traced.result[0]
    assert (traced.leaves[running.leaf], running.added) == (3, added)
    assert running.of(traced.leaves) == 3 + added
    assert type(result[0]) is int
    assert result[0] == 3 + added
    assert traced.calls[0].running == {"step": running}


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
    "product with a float": lambda n: 0.5 * n,
    "quotient of a float": lambda n: 0.5 / n,
    "power of a float": lambda n: 0.5**n,
    "comparison with a float": lambda n: n > 2.5,
    "shift": lambda n: n >> 1,
    "bit": lambda n: n & 1,
    "remainder": lambda n: divmod(n, 2),
    "remainder of another": lambda n: divmod(7, n),
    "floor": math.floor,
    "text": lambda n: f"{n}",
    "index": lambda n: "abcdef"[n],
    "range": lambda n: [*range(n)],
    "attribute": lambda n: n.real,
    "method": lambda n: n.bit_length(),
    "hash": lambda n: {3: "a"}[n],
    "copy": copy.deepcopy,
    "array of it": lambda n: float(numpy.asarray(n)),
    "product with an array": lambda n: float((numpy.ones(2) * n)[0]),
    "ufunc of an array": lambda n: str(numpy.multiply(numpy.ones(2, "float32"), n).dtype),
    "function of an array": lambda n: float(
        numpy.where([True], numpy.ones(1, "float32"), n).dtype == "float32"
    ),
    "filled array": lambda n: numpy.full((2,), n).tolist(),
    "quotient of a number of NumPy's": lambda n: float(numpy.float32(6) / n),
}


@pytest.mark.parametrize("use", USES)
def test_number_that_is_computed_with_is_refused_and_right(use):
    found = []

    def step(xp, n, x):
        found.append(USES[use](n))
        return xp.nn.relu(x)

    assert "whole number" in reason(step, 3, array(2, 3))
    assert found[0] == USES[use](3)


def test_number_passes_for_an_int_and_keeps_the_dtype_of_arrays():
    found = []

    def step(xp, n, x):
        found.extend([isinstance(n, int), (x * n).dtype, (n / x).dtype])
        return xp.nn.relu(x)

    reason(step, 3, array(2, 3))
    assert found == [True, numpy.float32, numpy.float32]


def test_number_is_plain_where_kernels_meet_it():
    met = []
    plain = xp.with_functions(types.SimpleNamespace(**vars(xp.nn)))
    plain.nn.adam_step = lambda *args: met.append(args[4]) or xp.nn.adam_step(*args)
    arrays = [numpy.ones(2) for _ in range(4)]
    trace(
        xp,
        lambda xp, n, *arrays: xp.nn.adam_step(*arrays, n + 2, 0.1, 0.9, 0.99, 1e-8),
        (3, *arrays),
        plain=plain,
    )
    assert met == [5]
    assert type(met[0]) is int
    assert as_int(None) is None


def test_namespace_stays_as_it_is_while_a_step_is_traced():
    before, nn = dict(vars(xp)), dict(vars(xp.nn))

    def step(inner, x):
        assert inner is not xp
        assert (vars(xp), vars(xp.nn)) == (before, nn)
        return inner.nn.relu(x)

    trace(xp, step, (array(2, 3),))


def test_threads_trace_at_once():
    barrier = threading.Barrier(2, timeout=10)

    def traced(name):
        def step(xp, x):
            barrier.wait()
            x = getattr(xp.nn, name)(x)
            barrier.wait()
            return getattr(xp.nn, name)(x)

        return names(trace(xp, step, (array(2, 3),))[1])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(traced, ["relu", "sigmoid"])) == [["relu"] * 2, ["sigmoid"] * 2]


def test_step_that_takes_its_functions_from_outside_is_refused():
    text = reason(lambda inner, x: inner.nn.relu(xp.nn.tanh(x)), array(2, 3))
    assert text == f"`z` of `nn.relu` is {OUTSIDE}"


def test_users_and_makers_are_known_by_identity():
    def step(xp, x, w, b):
        z = xp.nn.linear(x, w, b)
        y = xp.nn.relu(z)
        return xp.nn.relu_backward(y, y), y, xp.nn.sgd_step(w, w, 0.5)

    _, traced = trace(xp, step, (array(4, 3), array(3, 2), array(2)))
    x, w, b, z, y, dz = traced.values
    linear, relu, backward, sgd = traced.calls
    assert traced.users(w) == [(linear, "weight"), (sgd, "param"), (sgd, "grad")]
    assert traced.only_user(z) == (relu, "z")
    assert (traced.only_user(x), traced.only_user(b)) == ((linear, "x"), (linear, "bias"))
    assert (traced.only_user(y), traced.only_user(dz), traced.only_user(None)) == (None, None, None)
    assert [traced.maker(value) for value in (x, z, y, dz, w)] == [None, linear, relu, backward, None]
    assert (traced.returned, traced.changed) == ({dz, y, w}, {w})
    assert [traced.index(call) for call in traced.calls] == [0, 1, 2, 3]


def test_sizes_are_those_of_the_declared_axes_or_none():
    def step(xp, x, w, b, n):
        xp.nn.linear(x, w, n)
        xp.nn.sgd_step(w, w, b)
        return xp.nn.relu(x), xp.nn.linear(x, w, b)

    _, traced = trace(xp, step, (array(4, 3), array(3, 2), array(2), array(1)))
    assert [call.sizes for call in traced.calls] == [
        None,
        None,
        {"*": (4, 3)},
        {"batch": 4, "n_in": 3, "n_out": 2},
    ]
