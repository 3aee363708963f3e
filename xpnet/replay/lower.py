"""Lowering: from the calls of a trace to tasks, by the rules of a backend; and how tasks are carried out."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from xpnet.replay.trace import Call, Running, Trace, Value

Array = Any


@dataclasses.dataclass(frozen=True)
class Task:
    """A function of arrays.

    Attributes
    ----------
    name : str
    run : callable
        Takes the inputs, and returns the results: one array, a tuple of some, or nothing.
    inputs : tuple of Value or Running
    results : tuple of Value or None
        None for what is None, or need not be kept.
    """

    name: str
    run: Callable[..., Any]
    inputs: tuple[Value | Running, ...]
    results: tuple[Value | None, ...] = ()


class Lowering:
    """A trace on its way to tasks.

    Attributes
    ----------
    trace : Trace
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._taken: set[Call] = set()
        self._first: list[Any] = []
        self._tasks: dict[int, list[Any]] = {}

    def take(self, *calls: Call) -> None:
        """Mark calls as done by the tasks of another call."""
        self._taken.update(calls)

    def is_taken(self, call: Call) -> bool:
        """Return whether another call's tasks do this one."""
        return call in self._taken

    def add(self, task: Any, at: Call) -> None:
        """Add a `Task` in the place of a call, or what else the backend carries out."""
        self._tasks.setdefault(self.trace.index(at), []).append(task)

    def add_first(self, task: Any) -> None:
        """Add a task before those of all calls."""
        self._first.append(task)

    def add_call(self, call: Call, run: Callable[..., Any] | None = None) -> None:
        """Add a call as it is, or with another function in its place."""
        inputs: dict[str, Value | Running] = {**call.arrays, **call.running}
        # Those that are changed in place too: NumPy's numbers are not, a new one comes back.
        task = Task(call.name, call.function_of(*inputs, run=run), (*inputs.values(),), call.results)
        self.add(task, at=call)

    @property
    def tasks(self) -> list[Any]:
        """All tasks, in the order of the calls in whose places they are."""
        return [*self._first, *(task for i in sorted(self._tasks) for task in self._tasks[i])]


Rule = Callable[[Lowering, Call], bool]
"""Adds the tasks of a call and of others that it takes, and returns True; or does nothing, and returns
False."""


def lower(trace: Trace, rules: Mapping[str, Sequence[Rule]], others: Sequence[Rule] = ()) -> list[Any]:
    """Return the tasks of a trace.

    Parameters
    ----------
    trace : Trace
    rules : mapping
        By the name of a function: what can become of its calls. The first rule that takes a call wins, so
        those for longer patterns come first. A call that no rule takes is called as it was recorded.
    others : sequence, optional
        The same for all functions that have no rules.
    """
    lowering = Lowering(trace)
    for call in trace.calls:
        if not lowering.is_taken(call) and not any(
            rule(lowering, call) for rule in rules.get(call.name, others)
        ):
            lowering.add_call(call)
    return lowering.tasks


class Tasks:
    """Tasks that are carried out one after another on values.

    Parameters
    ----------
    tasks : iterable of Task
    values : iterable of Value
        Others that need a slot, such as arguments that no task uses.

    Attributes
    ----------
    slots : dict of Value or Running to int
        Where each value is in `values`.
    values : list
        The arrays, and numbers in the place of running ones.
    """

    def __init__(self, tasks: Iterable[Task], values: Iterable[Value]) -> None:
        tasks = [*tasks]
        used = (value for task in tasks for value in (*task.inputs, *task.results) if value is not None)
        self.slots = {value: i for i, value in enumerate(dict.fromkeys((*values, *used)))}
        self.values: list[Any] = [None] * len(self.slots)
        self._running = [(i, value) for value, i in self.slots.items() if isinstance(value, Running)]
        self._steps = [self._step(task) for task in tasks]

    def _step(self, task: Task) -> tuple[Callable[..., Any], Callable[..., Any], Sequence[int | None]]:
        results = [None if value is None else self.slots[value] for value in task.results]
        inputs = picker([self.slots[value] for value in task.inputs])
        return task.run, inputs, results if any(slot is not None for slot in results) else ()

    def count(self, leaves: Sequence[Any]) -> None:
        """Look up the running numbers of a call with these leaves."""
        for slot, number in self._running:
            self.values[slot] = number.of(leaves)

    def run(self) -> None:
        """Carry out all tasks."""
        values = self.values
        for function, inputs, results in self._steps:
            made = function(*inputs(values))
            if results:
                for slot, array in zip(results, made if type(made) is tuple else (made,), strict=True):
                    if slot is not None:
                        values[slot] = array


def picker(slots: Sequence[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return a function that returns the elements at these slots."""
    if len(slots) > 1:
        return operator.itemgetter(*slots)
    return lambda values: tuple(values[slot] for slot in slots)
