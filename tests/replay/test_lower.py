"""From a trace to tasks: which rule takes a call, in which order tasks come, and how they are carried out."""

import numpy
import pytest

import xpnet
from xpnet.replay.lower import Task, Tasks, lower
from xpnet.replay.trace import Running
from xpnet.replay.tracing import trace

xp = xpnet.Namespace("plain", numpy)


def traced(step, *shapes):
    arrays = [
        numpy.random.default_rng(i).normal(size=shape).astype("float32") for i, shape in enumerate(shapes)
    ]
    result, found = trace(xp, step, tuple(arrays))
    return arrays, result, found


def layers(xp, x, weight, bias):
    y = xp.nn.relu(xp.nn.linear(x, weight, bias))
    return xp.nn.relu_backward(y, xp.nn.tanh(y))


def carried_out(tasks, found, arrays):
    program = Tasks(tasks, found.arguments)
    for value, array in zip(found.arguments, arrays, strict=True):
        program.values[program.slots[value]] = array
    program.count(found.leaves)
    program.run()
    return program.values[program.slots[found.result]]


def test_calls_that_no_rule_takes_are_called_in_order():
    arrays, result, found = traced(layers, (4, 3), (3, 2), (2,))
    tasks = lower(found, {})
    assert [task.name for task in tasks] == ["linear", "relu", "tanh", "relu_backward"]
    numpy.testing.assert_array_equal(carried_out(tasks, found, arrays), result)


def test_first_rule_that_takes_a_call_wins():
    def tail(lowering, call):
        user = lowering.trace.only_user(call.result("z"))
        if user is None or user[0].name != "relu":
            return False
        (then, _), run = user, call.function_of(*call.arrays)
        task = Task("both", lambda *x: numpy.maximum(run(*x), 0), (*call.arrays.values(),), then.results)
        lowering.take(then)
        lowering.add(task, at=then)
        return True

    arrays, result, found = traced(layers, (4, 3), (3, 2), (2,))
    rules = {"linear": [lambda *_: False, tail, lambda *_: pytest.fail("taken before")]}
    tasks = lower(found, rules)
    assert [task.name for task in tasks] == ["both", "tanh", "relu_backward"]
    numpy.testing.assert_array_equal(carried_out(tasks, found, arrays), result)


def test_tasks_come_in_the_order_of_the_calls_in_whose_places_they_are():
    def later(lowering, call):
        last = lowering.trace.calls[-1]
        lowering.add(Task("later", lambda: None, ()), at=last)
        lowering.add_first(Task("first", lambda: None, ()))
        return True

    *_, found = traced(layers, (4, 3), (3, 2), (2,))
    assert [task.name for task in lower(found, {"relu": [later]})] == [
        "first",
        "linear",
        "tanh",
        "later",
        "relu_backward",
    ]


def test_running_numbers_are_looked_up_at_each_call():
    def counted(xp, n, *arrays):
        return xp.nn.adam_step(*arrays, n + 1, 0.1, 0.9, 0.99, 1e-8)[0]

    ones = [numpy.ones(2) for _ in range(4)]
    _, found = trace(xp, counted, (3, *ones))
    (task,) = lower(found, {})
    assert task.inputs[-1] == Running(found.leaves.index(3), 1)
    assert task.results == found.calls[0].changed
    program = Tasks([task], found.arguments)
    for n in (3, 7):
        leaves = [n if leaf is found.leaves[task.inputs[-1].leaf] else leaf for leaf in found.leaves]
        arrays, expected = ([numpy.ones(2) for _ in range(4)] for _ in range(2))
        for value, array in zip(found.arguments, arrays, strict=True):
            program.values[program.slots[value]] = array
        program.count(leaves)
        program.run()
        xp.nn.adam_step(*expected, n + 1, 0.1, 0.9, 0.99, 1e-8)
        numpy.testing.assert_array_equal(arrays, expected)
