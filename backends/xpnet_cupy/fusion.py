"""From the calls of a step to tasks: fewer and larger launches, with the same results.

- Images and their labels are gathered together.
- An activation is the tail of the linear layer before it; its gradient, of that of the layer after it.
- The step of a weight and its bias is the tail of their gradients.
- A loss adds itself to a total.

What is fused with nothing is called as it was recorded. A step of a multilayer
perceptron with n layers is 3 n + 2 launches.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from xpnet import nn
from xpnet.replay.lower import Task
from xpnet.replay.trace import Call, Trace, Value
from xpnet_cupy import kernels
from xpnet_cupy.products import Products

Array = Any

_ACTIVATIONS = ("relu", "sigmoid", "tanh")
_LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error")


@dataclasses.dataclass(frozen=True)
class Place:
    """A value that is an array of one int64, because it differs from call to call.

    Attributes
    ----------
    number : Value
    argument : int
        The leaf of the arguments whose address it is; or which it is, if that is a whole number.
    added : int
        What is added to a whole number.
    advance : int
        By how much a call changes the place itself.
    """

    number: Value
    argument: int
    added: int
    advance: int


@dataclasses.dataclass
class Plan:
    """A step as tasks.

    Attributes
    ----------
    tasks : list of Task
    places : list of Place
    same : dict
        By value: the argument which is changed to become it.
    changed : set of Value
    """

    tasks: list[Task]
    places: list[Place]
    same: dict[Value, Value]
    changed: frozenset[Value]


def fuse(trace: Trace, products: Products) -> Plan:
    """Return the tasks of a traced step."""
    fusing = _Fusing(trace, products)
    for i, call in enumerate(trace.calls):
        if i not in fusing.done:
            fusing.lower(i, call)
    return fusing.plan()


class _Fusing:
    def __init__(self, trace: Trace, products: Products) -> None:
        self._trace = trace
        self._products = products
        self._calls = trace.calls
        self._before: list[Task] = []  # what comes first, of all tasks
        self._at: dict[int, list[Task]] = {}  # tasks by the call in whose place they are
        self._places: list[Place] = []
        self._unbiases: dict[Any, Value] = {}
        self._same: dict[Value, Value] = {}
        self.done: set[int] = set()

    def plan(self) -> Plan:
        """Return what was found."""
        changed = self._trace.changed | {*self._same.values()}
        tasks = [*self._before, *(task for i in sorted(self._at) for task in self._at[i])]
        return Plan(tasks, self._places, self._same, changed)

    def lower(self, i: int, call: Call) -> None:
        """Add the tasks of a call, and of those that go with it."""
        if "indices" in call.arrays:
            self._fetch(call.arrays["indices"])
        if call.name == "gather_batch":
            self._gather(i, call)
        elif call.name == "linear":
            self._linear(i, call)
        elif call.name == "linear_backward":
            self._linear_backward(i, call)
        elif call.name in _LOSSES:
            self._loss(i, call)
        else:
            self._add(i, call.name, *self._bound(call), results=call.results)

    def _bound(self, call: Call) -> tuple[Callable[..., Any], tuple[Value, ...]]:
        """Return a call as a function of its arrays, and these."""
        inputs = dict(call.arrays)
        if call.running:
            inputs["step"] = self._unbias(call)
        return call.function_of(*inputs), tuple(inputs.values())

    def _add(
        self, i: int, name: str, function: Callable[..., Any], inputs: tuple[Value, ...], *, results: Any = ()
    ) -> None:
        self._at.setdefault(i, []).append(Task(name, function, inputs, tuple(results)))

    def _new(self, dtype: Any, *shape: int) -> Value:
        return Value(shape, dtype)

    def _fetch(self, indices: Value) -> None:
        """Let an argument that holds indices be fetched from wherever a call has it."""
        if indices.leaf is None or any(place.argument == indices.leaf for place in self._places):
            return
        size = math.prod(indices.shape)
        place = Place(self._new("int64", 1), indices.leaf, 0, size * indices.dtype.itemsize)
        self._places.append(place)
        function = functools.partial(kernels.fetch, size=size, dtype=indices.dtype)
        self._before.append(Task("fetch", function, (place.number,), (indices,)))

    def _unbias(self, call: Call) -> Value:
        """Return the value that stands for the number of an Adam step."""
        step, param = call.numbers["step"], call.arrays["param"]
        betas = call.numbers["beta1"], call.numbers["beta2"]
        key = step.leaf, step.added, *betas, param.dtype
        if key not in self._unbiases:
            place = Place(self._new("int64", 1), step.leaf, step.added, 1)
            self._places.append(place)
            self._unbiases[key] = self._new(param.dtype, 2)
            beta1, beta2 = betas
            function = functools.partial(kernels.count, beta1=beta1, beta2=beta2, dtype=param.dtype)
            self._before.append(Task("count", function, (place.number,), (self._unbiases[key],)))
        return self._unbiases[key]

    def _only_user(self, value: Value | None) -> tuple[int, Call, str] | None:
        """Return the one call that uses a value, if it is used once and not returned."""
        user = self._trace.only_user(value)
        return None if user is None else (self._trace.index(user[0]), *user)

    def _is_there(self, value: Value | None, i: int) -> bool:
        """Return whether a value is there, and as it is used later, before call number `i`."""
        made = [j for j, call in enumerate(self._calls) if value in call.results]
        return value is not None and not any(j >= i for j in made)

    def _dtypes(self, *values: Value) -> set[Any]:
        return {value.dtype for value in values}

    def _gather(self, i: int, call: Call) -> None:
        images, indices = call.arrays["images"], call.arrays["indices"]
        options = {key: call.numbers[key] for key in ("scale", "offset", "dtype")}
        for other, key in self._trace.users(indices):
            j = self._trace.index(other)
            if (j, key) > (i, key) and other.name == "gather_labels" and key == "indices":
                labels = other.arrays["labels"]
                if self._is_there(labels, i) and len(self._dtypes(labels, indices)) == 1:
                    self.done.add(j)
                    gather = functools.partial(kernels.gather, **options)
                    results = *call.results, *other.results
                    self._add(i, "gather", gather, (images, indices, labels), results=results)
                    return
        self._add(i, call.name, *self._bound(call), results=call.results)

    def _linear(self, i: int, call: Call) -> None:
        user, results = self._only_user(call.results[0]), call.results
        activation = None
        if user is not None and user[1].name in _ACTIVATIONS:
            self.done.add(user[0])
            activation, results = user[1].name, user[1].results
        inputs = tuple(call.arrays[key] for key in ("x", "weight", "bias"))
        name = " ".join(filter(None, ("linear", activation)))
        self._add(i, name, functools.partial(self._products.activated, activation), inputs, results=results)

    def _linear_backward(self, i: int, call: Call) -> None:
        x, weight, dy = (call.arrays[key] for key in ("x", "weight", "dy"))
        dx, d_weight, d_bias = call.results
        if dx is not None:
            self._backward(i, weight, dy, dx)
        steps = self._steps_of(i, x, dy, d_weight, d_bias)
        if steps is None:
            self._add(i, "linear_gradient", self._products.gradient, (x, dy), results=(d_weight, d_bias))
            return
        self.done.update(steps)
        call = self._calls[steps[0]]
        states = [tuple(self._calls[j].changed) for j in steps]
        numbers = [*call.numbers.values()]
        counted: tuple[Value, ...] = ()
        if call.running:
            counted, numbers = (self._unbias(call),), numbers[1:]
        split, products = (2 + len(states[0]), 2 + 2 * len(states[0])), self._products

        def step(*arrays: Array) -> None:  # Without `self`, which would keep what was recorded.
            given = arrays[2 : split[0]], arrays[split[0] : split[1]], *arrays[split[1] :]
            products.step(call.name, *arrays[:2], *given, *numbers)

        inputs = x, dy, *states[0], *states[1], *counted
        self._add(max(steps), f"linear_{call.name}", step, inputs)

    def _backward(self, i: int, weight: Value, dy: Value, dx: Value) -> None:
        user = self._only_user(dx)
        activation: str | None = None
        inputs: tuple[Value, ...] = weight, dy
        results: Sequence[Value | None] = (dx,)
        if user is not None:
            name = user[1].name.removesuffix("_backward")
            y: Any = user[1].arrays.get("y")
            if name in _ACTIVATIONS and user[2] == "dy" and self._is_there(y, i):
                self.done.add(user[0])
                activation, results = name, user[1].results
                inputs = *inputs, y
        function = functools.partial(self._products.backward, activation)
        if activation is None:
            function = functools.partial(self._products.backward, None, y=None)
        name = " ".join(filter(None, ("linear_backward", activation)))
        self._add(i, name, function, inputs, results=results)

    def _steps_of(
        self, i: int, x: Value, dy: Value, d_weight: Value | None, d_bias: Value | None
    ) -> tuple[int, int] | None:
        """Return which calls step a weight and a bias by gradients, if both can be formed as late as that."""
        users = [user for user in map(self._only_user, (d_weight, d_bias)) if user is not None]
        are_steps = (nn.FUNCTIONS[user[1].name].is_step and user[2] == "grad" for user in users)
        if len(users) < 2 or not all(are_steps):
            return None
        (p, of_weight, _), (q, of_bias, _) = users
        states = [*of_weight.changed, *of_bias.changed]
        if (
            of_weight.name != of_bias.name
            or of_weight.numbers != of_bias.numbers
            # With the gradients; another array is there in the place of a number.
            or len(of_weight.arrays) + len(of_bias.arrays) > len(states) + 2
            or len(self._dtypes(x, dy, *states)) > 1
        ):
            return None
        between = [self._calls[k] for k in range(i + 1, max(p, q)) if k not in (p, q)]
        first, last = min(p, q), max(p, q)
        used = {value for call in self._calls[first + 1 : last] for value in call.arrays.values()}
        changed = {value for call in between for value in call.changed}
        if used & set(states) or changed & {x, dy} or {x, dy} & set(states):
            return None
        return p, q

    def _loss(self, i: int, call: Call) -> None:
        user = self._only_user(call.results[0])
        inputs = tuple(call.arrays.values())
        if user is not None and user[1].name == "accumulate" and user[2] == "value":
            j, sum_, _ = user
            total: Any = sum_.arrays.get("total")
            weight: Any = sum_.numbers.get("weight")
            out: Any = sum_.results[0]
            if self._is_total(total, weight, inputs[0]) and not self._trace.users(out):
                place = Place(self._new("int64", 1), total.leaf, 0, 0)
                self._places.append(place)
                self._same[out] = total
                self.done.add(j)
                given = *inputs, place.number
                name = f"{call.name} accumulate"
                add = functools.partial(_add_loss, call.name, weight)
                self._add(i, name, add, given, results=call.results[1:])
                return
        self._add(i, call.name, *self._bound(call), results=call.results)

    def _is_total(self, total: Value | None, weight: Any, outputs: Value) -> bool:
        """Return whether a loss can be added to a total where it lies."""
        return (
            total is not None
            and weight is not None
            and total.leaf is not None
            and total.shape == ()
            and self._only_user(total) is not None
            and len(self._dtypes(total, outputs)) == 1
        )


def _add_loss(name: str, weight: float, outputs: Array, targets: Array, total: Array) -> Array:
    """Add a loss to a total, and return its gradient."""
    return kernels.loss(name, outputs, targets, total, weight)[1]
