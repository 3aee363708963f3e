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
from collections.abc import Callable, Sequence
from typing import Any

from xpnet import nn
from xpnet.recording import Call, Counter, Recording, Reference, leaves
from xpnet_cupy import kernels
from xpnet_cupy.products import Products

Array = Any

_ACTIVATIONS = ("relu", "sigmoid", "tanh")
_LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error")


@dataclasses.dataclass(frozen=True)
class Task:
    """A function of arrays.

    Attributes
    ----------
    name : str
    function : callable
        Takes arrays, and returns one, a tuple of some or nothing.
    inputs : tuple of int
        Numbers of values.
    results : tuple of int or None
        Numbers of values; None for what is None or changed in place.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[int, ...]
    results: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """A value that is an array of one int64, because it differs from call to call.

    Attributes
    ----------
    number : int
        Of the value.
    argument : int
        The leaf of the arguments whose address it is; or which it is, if that is a whole number.
    added : int
        What is added to a whole number.
    advance : int
        By how much a call changes the place itself.
    """

    number: int
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
        By the number of a value: that of the argument which is changed to become it.
    changed : set of int
        Numbers of the values that are changed in place.
    size : int
        How many values there are: those of the recording, then others.
    """

    tasks: list[Task]
    places: list[Place]
    same: dict[int, int]
    changed: set[int]
    size: int


def fuse(recording: Recording, products: Products) -> Plan:
    """Return the tasks of a recorded step."""
    fusing = _Fusing(recording, products)
    for i, call in enumerate(recording.calls):
        if i not in fusing.done:
            fusing.lower(i, call)
    return fusing.plan()


class _Fusing:
    def __init__(self, recording: Recording, products: Products) -> None:
        self._recording = recording
        self._products = products
        self._calls = recording.calls
        self._returned = {leaf for leaf in leaves(recording.result) if isinstance(leaf, Reference)}
        self._users: dict[int, list[tuple[int, str]]] = {}
        for i, call in enumerate(self._calls):
            for key, value in call.arguments.items():
                if isinstance(value, Reference):
                    self._users.setdefault(value, []).append((i, key))
        self._size = len(recording.values)
        self._before: list[Task] = []  # what comes first, of all tasks
        self._at: dict[int, list[Task]] = {}  # tasks by the call in whose place they are
        self._places: list[Place] = []
        self._unbiases: dict[Any, int] = {}
        self._same: dict[int, int] = {}
        self.done: set[int] = set()

    def plan(self) -> Plan:
        """Return what was found."""
        changed = {value for call in self._calls for value in call.changed} | set(self._same.values())
        tasks = [*self._before, *(task for i in sorted(self._at) for task in self._at[i])]
        return Plan(tasks, self._places, self._same, changed, self._size)

    def lower(self, i: int, call: Call) -> None:
        """Add the tasks of a call, and of those that go with it."""
        if "indices" in call.arguments:
            self._fetch(call.arguments["indices"])
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

    def _bound(self, call: Call) -> tuple[Callable[..., Any], tuple[int, ...]]:
        """Return a call as a function of its arrays, and these."""
        inputs: dict[str, int] = {
            key: value for key, value in call.arguments.items() if isinstance(value, Reference)
        }
        if isinstance(call.arguments.get("step"), Counter):
            inputs["step"] = self._unbias(call)
        return call.function_of(*inputs), tuple(inputs.values())

    def _add(
        self, i: int, name: str, function: Callable[..., Any], inputs: tuple[int, ...], *, results: Any = ()
    ) -> None:
        self._at.setdefault(i, []).append(Task(name, function, inputs, tuple(results)))

    def _new(self) -> int:
        self._size += 1
        return self._size - 1

    def _fetch(self, indices: Any) -> None:
        """Let an argument that holds indices be fetched from wherever a call has it."""
        if not isinstance(indices, Reference):
            return
        value = self._recording.values[indices]
        if value.argument is None or any(place.argument == value.argument for place in self._places):
            return
        array = value.array
        place = Place(self._new(), value.argument, 0, array.size * array.dtype.itemsize)
        self._places.append(place)
        function = functools.partial(kernels.fetch, size=array.size, dtype=array.dtype)
        self._before.append(Task("fetch", function, (place.number,), (int(indices),)))

    def _unbias(self, call: Call) -> int:
        """Return the value that stands for the number of an Adam step."""
        step, param = call.arguments["step"], self._recording.values[call.arguments["param"]].array
        betas = call.arguments["beta1"], call.arguments["beta2"]
        key = step.argument, step.added, *betas, param.dtype
        if key not in self._unbiases:
            place = Place(self._new(), step.argument, step.added, 1)
            self._places.append(place)
            self._unbiases[key] = self._new()
            beta1, beta2 = betas
            function = functools.partial(kernels.count, beta1=beta1, beta2=beta2, dtype=param.dtype)
            self._before.append(Task("count", function, (place.number,), (self._unbiases[key],)))
        return self._unbiases[key]

    def _only_user(self, value: int | None) -> tuple[int, Call, str] | None:
        """Return the one call that uses a value, if it is used once and not returned."""
        users = self._users.get(value, []) if value is not None else []
        if len(users) != 1 or value in self._returned:
            return None
        ((i, key),) = users
        return i, self._calls[i], key

    def _is_there(self, value: Any, i: int) -> bool:
        """Return whether a value is there, and as it is used later, before call number `i`."""
        made = [j for j, call in enumerate(self._calls) if value in call.results]
        return isinstance(value, Reference) and not any(j >= i for j in made)

    def _dtypes(self, *values: int) -> set[Any]:
        return {self._recording.values[value].array.dtype for value in values}

    def _gather(self, i: int, call: Call) -> None:
        images, indices = call.arguments["images"], call.arguments["indices"]
        options = {key: call.arguments[key] for key in ("scale", "offset", "dtype")}
        for j, key in self._users.get(indices, []):
            other = self._calls[j]
            if (j, key) > (i, key) and other.name == "gather_labels" and key == "indices":
                labels = other.arguments["labels"]
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
        inputs = tuple(call.arguments[key] for key in ("x", "weight", "bias"))
        name = " ".join(filter(None, ("linear", activation)))
        self._add(i, name, functools.partial(self._products.activated, activation), inputs, results=results)

    def _linear_backward(self, i: int, call: Call) -> None:
        x, weight, dy = (call.arguments[key] for key in ("x", "weight", "dy"))
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
        counted: tuple[int, ...] = ()
        if call.name == "adam_step" and isinstance(numbers[0], Counter):
            counted, numbers = (self._unbias(call),), numbers[1:]
        split, products = (2 + len(states[0]), 2 + 2 * len(states[0])), self._products

        def step(*arrays: Array) -> None:  # Without `self`, which would keep what was recorded.
            given = arrays[2 : split[0]], arrays[split[0] : split[1]], *arrays[split[1] :]
            products.step(call.name, *arrays[:2], *given, *numbers)

        inputs = x, dy, *states[0], *states[1], *counted
        self._add(max(steps), f"linear_{call.name}", step, inputs)

    def _backward(self, i: int, weight: int, dy: int, dx: int) -> None:
        user = self._only_user(dx)
        activation: str | None = None
        inputs: tuple[int, ...] = weight, dy
        results: Sequence[int | None] = (dx,)
        if user is not None:
            name = user[1].name.removesuffix("_backward")
            y: Any = user[1].arguments.get("y")
            if name in _ACTIVATIONS and user[2] == "dy" and self._is_there(y, i):
                self.done.add(user[0])
                activation, results = name, user[1].results
                inputs = *inputs, int(y)
        function = functools.partial(self._products.backward, activation)
        if activation is None:
            function = functools.partial(self._products.backward, None, y=None)
        name = " ".join(filter(None, ("linear_backward", activation)))
        self._add(i, name, function, inputs, results=results)

    def _steps_of(
        self, i: int, x: int, dy: int, d_weight: int | None, d_bias: int | None
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
            or len(of_weight.references) + len(of_bias.references) > len(states) + 2
            or len(self._dtypes(x, dy, *states)) > 1
        ):
            return None
        between = [self._calls[k] for k in range(i + 1, max(p, q)) if k not in (p, q)]
        first, last = min(p, q), max(p, q)
        used = {value for call in self._calls[first + 1 : last] for value in call.references}
        changed = {value for call in between for value in call.changed}
        if used & set(states) or changed & {x, dy} or {x, dy} & set(states):
            return None
        return p, q

    def _loss(self, i: int, call: Call) -> None:
        user = self._only_user(call.results[0])
        inputs = tuple(call.references)
        if user is not None and user[1].name == "accumulate" and user[2] == "value":
            j, sum_, _ = user
            total, weight = sum_.arguments["total"], sum_.arguments["weight"]
            out: Any = sum_.results[0]
            if self._is_total(total, weight, inputs[0]) and out not in self._users:
                argument = self._recording.values[total].argument
                place = Place(self._new(), argument, 0, 0)
                self._places.append(place)
                self._same[out] = int(total)
                self.done.add(j)
                given = *inputs, place.number
                name = f"{call.name} accumulate"
                add = functools.partial(_add_loss, call.name, weight)
                self._add(i, name, add, given, results=call.results[1:])
                return
        self._add(i, call.name, *self._bound(call), results=call.results)

    def _is_total(self, total: Any, weight: Any, outputs: int) -> bool:
        """Return whether a loss can be added to a total where it lies."""
        if not isinstance(total, Reference) or isinstance(weight, Reference):
            return False
        value = self._recording.values[total]
        return (
            value.argument is not None
            and value.array.shape == ()
            and self._only_user(total) is not None
            and len(self._dtypes(total, outputs)) == 1
        )


def _add_loss(name: str, weight: float, outputs: Array, targets: Array, total: Array) -> Array:
    """Add a loss to a total, and return its gradient."""
    return kernels.loss(name, outputs, targets, total, weight)[1]
