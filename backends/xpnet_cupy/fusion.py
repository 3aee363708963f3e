"""From the calls of a step to tasks: fewer and larger launches, with the same results.

- Images that kernels of ours read first stay stored; others and their labels are gathered together.
- An activation is done by the linear layer or the convolution before it; its gradient, by the gradient of the
  linear layer after it.
- The step of a weight and its bias is done where their gradients are formed.
- A loss adds itself to a total.

Other calls stay as they were recorded. A step of a multilayer perceptron with n layers is 3 n + 1 launches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xpnet import nn
from xpnet.replay.lower import Lowering, Rule, Task, lower
from xpnet.replay.trace import Call, NotReplayableError, Running, Trace, Value
from xpnet_cupy import kernels, losses, rules, source
from xpnet_cupy.batches import Batches
from xpnet_cupy.convolution import Convolution
from xpnet_cupy.convolution_shapes import shapes_of_call
from xpnet_cupy.counts import Counts
from xpnet_cupy.dense import Dense
from xpnet_cupy.table import Table
from xpnet_cupy.together import (
    are_alike,
    can_wait,
    draws,
    if_constant,
    if_declared,
    is_declared,
    is_ready,
    takes_its_numbers,
)

Array = Any


class Fusion:
    """The tasks of a traced step.

    Parameters
    ----------
    trace : Trace
    dense : Dense

    Attributes
    ----------
    tasks : list of Task
    table : Table
        What differs from call to call.
    totals : dict of Value to Value
        By a total that the step returns: the argument that becomes it, in place.

    Raises
    ------
    NotReplayableError
        If a number that differs from call to call goes to a function without a kernel.
    """

    def __init__(self, trace: Trace, dense: Dense) -> None:
        self._dense, self._convolution = dense, Convolution(dense)
        self.table = Table()
        self._batches = Batches(self.table, dense)
        self._counts = Counts(self.table)
        self.totals: dict[Value, Value] = {}
        self.tasks = lower(trace, self._rules())
        for task in self.tasks:
            if any(isinstance(value, Running) for value in task.inputs):
                raise NotReplayableError(
                    f"`nn.{task.name}` has no kernel that takes a number that may change"
                )

    def _rules(self) -> dict[str, list[Rule]]:
        rules: dict[str, Rule] = {
            **{name: self._draw for name, function in nn.FUNCTIONS.items() if draws(function)},
            "conv2d": self._conv2d,
            "conv2d_backward": self._conv2d_backward,
            "gather_batch": self._batches.gather,
            "gather_labels": self._batches.gather_labels,
            "linear": self._linear,
            "linear_backward": self._linear_backward,
            "scaled": self._scaled,
        }
        for name, function in nn.FUNCTIONS.items():
            if function.is_loss:
                rules[name] = self._loss
            elif name in source.RULES:
                rules[name] = self._step
        return {
            name: [if_declared(rule if rule == self._step else if_constant(rule))]
            for name, rule in rules.items()
        }

    def _scaled(self, lowering: Lowering, call: Call) -> bool:
        """Scale by a number that each call may have elsewhere, as the share of a process in a batch."""
        self._batches.fetch(lowering, call.arrays["factor"])
        lowering.add_call(call)
        return True

    def _linear(self, lowering: Lowering, call: Call) -> bool:
        self._activated(lowering, call, self._dense.activated)
        return True

    def _conv2d(self, lowering: Lowering, call: Call) -> bool:
        activated = functools.partial(self._convolution.activated, shapes_of_call(call))
        self._activated(lowering, call, activated)
        return True

    def _activated(self, lowering: Lowering, call: Call, activated: Callable[..., Any]) -> None:
        """Compute a layer and its activation; keep the argument of that if something else uses it."""
        trace, (z,) = lowering.trace, call.results
        name: str | None = None
        results: tuple[Value | None, ...] = z, None
        users = [user for user, _ in trace.users(z) if user.name in source.ACTIVATIONS]
        if users and z not in trace.changed:
            lowering.take(users[0])
            name, results = users[0].name, (*users[0].results, None if trace.only_user(z) else z)
        activated = functools.partial(activated, name, keep_z=results[1] is not None)
        run, inputs = self._batches.reading(activated, *call.arrays.values())
        lowering.add(Task(_named(call.name, name), run, inputs, results), at=call)

    def _linear_backward(self, lowering: Lowering, call: Call) -> bool:
        self._input_gradient(lowering, call)
        self._weight_gradient(lowering, call, "linear", self._dense.gradient, self._dense.step)
        return True

    def _conv2d_backward(self, lowering: Lowering, call: Call) -> bool:
        of, convolution, dx = shapes_of_call(call), self._convolution, call.result("dx")
        if dx is not None:
            inputs = call.arrays["weight"], call.arrays["dy"]
            run = functools.partial(convolution.input_gradient, of)
            lowering.add(Task("conv2d_backward", run, inputs, (dx,)), at=call)
        by = functools.partial(convolution.gradient, of), functools.partial(convolution.step, of)
        self._weight_gradient(lowering, call, "conv2d", *by)
        return True

    def _weight_gradient(
        self,
        lowering: Lowering,
        call: Call,
        layer: str,
        gradient: Callable[..., Any],
        step: Callable[..., Any],
    ) -> None:
        """Form the gradients of a weight and a bias, or step these by them."""
        if not self._fuse_steps(lowering, call, layer, step):
            gradient, inputs = self._batches.reading(gradient, call.arrays["x"], call.arrays["dy"])
            lowering.add(Task(f"{layer}_gradient", gradient, inputs, call.results[1:]), at=call)

    def _input_gradient(self, lowering: Lowering, call: Call) -> None:
        """Compute the gradient at the input of a layer, and that of the activation before it."""
        trace, dx = lowering.trace, call.result("dx")
        if dx is None:
            return
        name: str | None = None
        results: tuple[Value | None, ...] = (dx,)
        inputs: tuple[Value, ...] = call.arrays["weight"], call.arrays["dy"]
        user, argument = trace.only_user(dx) or (None, "")
        if user is not None and user.name in source.GRADIENTS and argument == "dy":
            activation = source.GRADIENTS[user.name]
            kept = user.arrays[str(nn.FUNCTIONS[activation].keeps)]
            if is_ready(trace, kept, call):
                lowering.take(user)
                name, inputs, results = activation, (*inputs, kept), user.results
        run = functools.partial(self._dense.backward, name)
        lowering.add(Task(_named("linear_backward", name), run, inputs, results), at=call)

    def _fuse_steps(self, lowering: Lowering, call: Call, layer: str, step: Callable[..., Any]) -> bool:
        """Step a weight and a bias by the kernel that forms their gradients, if these have no other use."""
        trace, x, dy = lowering.trace, call.arrays["x"], call.arrays["dy"]
        users = [trace.only_user(call.result(name)) for name in ("d_weight", "d_bias")]
        steps = [user for user, argument in filter(None, users) if argument == "grad"]
        if len(steps) < 2 or not are_alike(steps, x, dy):
            return False
        first, last = sorted(steps, key=trace.index)
        if not takes_its_numbers(first):
            return False
        # Both are done where the last one is.
        if not can_wait(trace, call, last, reads=(x, dy)):
            return False
        if not can_wait(trace, first, last, makes=first.changed):
            return False
        lowering.take(*steps)
        counts = self._counts.of(lowering, first)
        numbers = {name: number for name, number in first.numbers.items() if name not in counts}
        step = functools.partial(_step, step, first.name, numbers, [*counts])
        changed = (value for step in steps for value in step.changed)
        run, inputs = self._batches.reading(step, x, dy, *counts.values(), *changed)
        lowering.add(Task(f"{layer}_{first.name}", run, inputs), at=last)
        return True

    def _step(self, lowering: Lowering, call: Call) -> bool:
        """Take a step by itself."""
        if not takes_its_numbers(call):
            return False
        inputs = {**call.arrays, **self._counts.of(lowering, call)}
        fixed = {name: number for name, number in call.numbers.items() if name not in inputs}
        run = functools.partial(_step_alone, call.name, fixed, [*inputs])
        lowering.add(Task(call.name, run, (*inputs.values(),)), at=call)
        return True

    def _draw(self, lowering: Lowering, call: Call) -> bool:
        """Draw by the number of the step, if that differs from call to call."""
        inputs: dict[str, Value] = dict(call.arrays)
        for name, count in call.running.items():
            inputs[name] = self._counts.step(lowering, count)
        lowering.add(Task(call.name, call.function_of(*inputs), (*inputs.values(),), call.results), at=call)
        return True

    def _loss(self, lowering: Lowering, call: Call) -> bool:
        """Add a loss to a total in place, by the weight that is a number or by those of the rows."""
        trace, (outputs, *others) = lowering.trace, call.arrays.values()
        weights = call.arrays.get("weights")
        accumulate = "accumulate" if weights is None else "accumulate_weighted"
        user, argument = trace.only_user(call.results[0]) or (None, "")
        if user is None or user.name != accumulate or argument != "value" or not is_declared(user):
            return False
        if user.running or call.running or user.arrays.get("weights") is not weights:
            return False
        total, new = user.arrays["total"], user.results[0]
        if new is None or new not in trace.returned or trace.users(new):
            return False
        if total.leaf is None or not trace.only_user(total):
            return False
        if total.dtype != outputs.dtype:
            return False
        lowering.take(user)
        self.totals[new] = total
        if weights is None:
            add = functools.partial(_add_loss, call.name, user.numbers["weight"], **call.numbers)
        else:
            add = functools.partial(_add_weighted_loss, call.name, **call.numbers)
        inputs = outputs, *others, self.table.add(total.leaf)
        lowering.add(Task(f"{call.name} accumulate", add, inputs, call.results[1:]), at=call)
        return True


def _named(*parts: str | None) -> str:
    return " ".join(filter(None, parts))


def _step_alone(name: str, numbers: Mapping[str, Any], names: Sequence[str], *found: Array) -> Any:
    """Take a step, given the arrays and counts that have these names."""
    return rules.step(name, {**numbers, **dict(zip(names, found, strict=True))})


def _step(
    step: Callable[..., None], name: str, numbers: Mapping[str, Any], counts: Sequence[str], *arrays: Array
) -> None:
    """Step a weight and a bias; the arrays are x, dy, counts, then what the steps change."""
    (x, dy), others = arrays[:2], arrays[2:]
    changed = others[len(counts) :]
    half = len(changed) // 2
    known = {**numbers, **dict(zip(counts, others, strict=False))}
    step(name, x, dy, changed[:half], changed[half:], known)


def _add_loss(
    name: str, weight: float, outputs: Array, targets: Array, total: Array, **numbers: float
) -> Array:
    """Add a loss to a total, and return its gradient."""
    return kernels.loss(name, outputs, targets, total, weight, numbers=[*numbers.values()])[1]


def _add_weighted_loss(name: str, *arrays: Array, **numbers: float) -> Array:
    """Add a mean by weight to a total, and return its gradient."""
    return losses.weighted_loss(name, *arrays, numbers=[*numbers.values()])[1]
