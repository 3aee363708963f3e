"""`xp.compile`: a traced step without its Python, into arrays that are kept from call to call."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any

import numpy

from xpnet import nn
from xpnet.replay.lower import Lowering, Rule, Task, Tasks, lower, picker
from xpnet.replay.program import Loop, scan_by_runs
from xpnet.replay.summed import Place, places
from xpnet.replay.trace import Call, Trace, Value
from xpnet_numpy import in_place, stack
from xpnet_numpy.convolution import Convolution, convolution_of
from xpnet_numpy.pooling import MaxPool, pool_of
from xpnet_numpy.stack import Stack

Array = Any


# By function: the class of the object that writes its results, what finds its arguments, and its method.
_OBJECTS: dict[str, tuple[Any, Callable[[Call], Any], Callable[..., None]]] = {
    "conv2d": (Convolution, convolution_of, Convolution.__call__),
    "conv2d_backward": (Convolution, convolution_of, Convolution.gradients),
    "max_pool2d": (MaxPool, pool_of, MaxPool.__call__),
    "max_pool2d_backward": (MaxPool, pool_of, MaxPool.gradient),
}


class NumPyProgram:
    """A traced step on other arrays of the same shapes, see `xpnet.replay.program.Program`.

    Parameters
    ----------
    trace : Trace
    stacks : mapping
        What programs of one step share, so that parameters move from one to the other as they are.
    """

    def __init__(self, trace: Trace, stacks: MutableMapping[Any, Stack]) -> None:
        rules = _Rules(trace, stacks)
        self._tasks = Tasks(lower(trace, rules.table, [rules.write_library]), trace.arguments)
        self._own, slots = self._tasks.values, self._tasks.slots
        self._given = {leaf: slots[value] for leaf, value in trace.given.items()}
        self.changed = trace.changed
        self._changed = [(i, slots[value]) for i, value in trace.given.items() if value in self.changed]
        for value in rules.written:
            self._own[slots[value]] = numpy.empty(value.shape, value.dtype)
        self._parts: dict[int, list[tuple[int, slice, tuple[int, ...]]]] = {}  # by the leaf of the flat array
        used = [(value, place) for value, place in rules.placed.items() if value in slots]
        for value, place in used:
            part = slots[value], slice(place.begin, place.end), value.shape
            self._parts.setdefault(place.flat.leaf, []).append(part)  # type: ignore[arg-type]
        self._stacked = rules.stacked
        for stacked in self._stacked:
            stacked.bind(self._own, slots)

    def getter(self, value: Value) -> Callable[[], Array]:
        """See `xpnet.replay.program.Program`."""
        return functools.partial(operator.getitem, self._own, self._tasks.slots[value])

    def forget(self) -> None:
        """See `xpnet.replay.program.Program`."""
        parts = (slot for several in self._parts.values() for slot, *_ in several)
        for slot in (*self._given.values(), *parts):
            self._own[slot] = None

    def run(self, leaves: list[Any], moved: list[int]) -> None:
        """See `xpnet.replay.program.Program`."""
        own, given = self._own, self._given
        for leaf in moved:
            own[given[leaf]] = leaves[leaf]
            for slot, place, shape in self._parts.get(leaf, ()):
                own[slot] = leaves[leaf][place].reshape(shape)
        self._tasks.count(leaves)
        for stacked in self._stacked:
            stacked.load(moved)
        self._tasks.run()
        for leaf, slot in self._changed:
            leaves[leaf] = own[slot]

    def scan(self, leaves: list[Any], moved: list[int], loop: Loop) -> None:
        """See `xpnet.replay.program.Program`."""
        scan_by_runs(self, leaves, moved, loop)


class _Rules:
    """What becomes of calls: see `xpnet.replay.lower.lower`.

    Attributes
    ----------
    written : set of Value
        What functions of `in_place` write, so that it needs an array before.
    placed : dict of Value to Place
        What is in the memory of an array in which gradients are summed.
    stacked : list of _Stacked
    table : mapping
    """

    def __init__(self, trace: Trace, stacks: MutableMapping[Any, Stack]) -> None:
        self._stacks = stacks
        self._could_be = places(trace)
        self.placed: dict[Value, Place] = {}
        self.written: set[Value] = set()
        self.stacked: list[_Stacked] = []
        self._objects: dict[Any, Any] = {}
        special: dict[str, Rule] = dict.fromkeys(in_place.FUNCTIONS, self._write)
        special |= dict.fromkeys(stack.RULES, self._stack)
        special |= dict.fromkeys(_OBJECTS, self._write_by_object)
        special |= {"pack": self._pack, "unpack": self._unpack, "all_reduce": self._sum}
        self.table = {
            name: [rule, _call_twin] if (rule := special.get(name)) else [_call_twin] for name in nn.FUNCTIONS
        }

    def write_library(self, lowering: Lowering, call: Call) -> bool:
        """Write the result of a function of the library into an array of the program."""
        if not getattr(call.run, "writes", False) or not lowering.trace.returned.isdisjoint(call.results):
            return False
        results = [value for value in call.results if value is not None]
        inputs: tuple[Any, ...] = (*call.arrays.values(), *call.running.values(), *results)
        lowering.add(Task(call.name, call.run.into, inputs), at=call)  # type: ignore[attr-defined]
        self.written.update(results)
        return True

    def _write(self, lowering: Lowering, call: Call) -> bool:
        """Write the results into arrays of the program."""
        results = [value for value in call.results if value is not None]
        # What the step returns must be new, because the next call writes to the program's own arrays again.
        if call.sizes is None or not lowering.trace.returned.isdisjoint(results):
            return False
        running = call.running
        fixed = {name: number for name, number in call.numbers.items() if name not in running}
        write = _by_name(functools.partial(in_place.FUNCTIONS[call.name], **fixed), [*running])
        lowering.add(Task(call.name, write, (*call.arrays.values(), *results, *running.values())), at=call)
        self.written.update(results)
        return True

    def _write_by_object(self, lowering: Lowering, call: Call) -> bool:
        """Write the results by an object that the call of the gradients shares."""
        results = [value for value in call.results if value is not None]
        x, (kind, arguments_of, write) = call.arrays["x"], _OBJECTS[call.name]
        if call.sizes is None or not lowering.trace.returned.isdisjoint(results):
            return False
        if any(value.dtype != x.dtype for value in call.arrays.values()):
            return False
        arguments = arguments_of(call)
        if arguments is None:
            return False
        # What changes in between must be read again.
        key = call if x in lowering.trace.changed else (kind, x, arguments)
        if key not in self._objects:
            self._objects[key] = kind(*arguments)
        run = functools.partial(write, self._objects[key])
        lowering.add(Task(call.name, run, (*call.arrays.values(), *results)), at=call)
        self.written.update(results)
        return True

    def _pack(self, lowering: Lowering, call: Call) -> bool:
        """Let what is packed be written into the flat array."""
        x = call.arrays["x"]
        if x not in self.written or x not in self._could_be:
            return False
        self.written.remove(x)
        self.placed[x] = self._could_be[x]
        return True

    def _unpack(self, lowering: Lowering, call: Call) -> bool:
        """Let the result be read there."""
        (result,) = call.results
        if result not in self._could_be:
            return False
        self.placed[result] = self._could_be[result]
        return True

    def _sum(self, lowering: Lowering, call: Call) -> bool:
        """Sum an array where it is, if others can be in its memory."""
        (flat,) = call.arrays.values()
        if all(place.flat is not flat for place in self._could_be.values()):
            return False

        def run(x: Array) -> None:
            total = call.run(x)
            if total is not x:
                x[...] = total

        lowering.add(Task(call.name, run, (flat,)), at=call)
        return True

    def _stack(self, lowering: Lowering, call: Call) -> bool:
        """Take steps of an optimizer that follow each other as one product."""
        calls = lowering.trace.calls
        begin = end = lowering.trace.index(call)
        while end < len(calls) and calls[end].name == call.name:
            end += 1
        alike = calls[begin:end]
        unpacked = {value for other in calls if other.name == "unpack" for value in other.results if value}
        gradients = {other.arrays["grad"] for other in alike}
        is_copied = gradients <= unpacked
        if not (is_copied or gradients <= self.written) or not Stack.suits(alike, lowering.trace):
            return False
        stacked = _Stacked(self._stacks, alike, is_copied=is_copied)
        self.stacked.append(stacked)
        # Another step cannot take these for its own, because they are in the rows of this one.
        self.written.difference_update(stacked.gradients)
        lowering.take(*alike)
        inputs: tuple[Any, ...] = (*stacked.copied, *call.running.values())
        lowering.add(Task(f"{call.name} of all", stacked.step, inputs), at=call)
        return True


def _by_name(function: Callable[..., None], names: Sequence[str]) -> Callable[..., None]:
    """Return a function that passes its last arguments on by these names."""
    if not names:
        return function
    count = len(names)
    return lambda *found: function(*found[:-count], **dict(zip(names, found[-count:], strict=True)))


def _call_twin(lowering: Lowering, call: Call) -> bool:
    """Call the portable twin, which makes new arrays; the caller silences underflow."""
    run = inspect.unwrap(call.run)
    if not lowering.trace.returned.isdisjoint(call.results) and not call.changed:
        run = _fresh(run)
    lowering.add_call(call, run=run)
    return True


def _fresh(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose results share no memory with its arrays, as reshaped ones do."""

    @functools.wraps(run)
    def fresh(*args: Any, **kwargs: Any) -> Any:
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, numpy.ndarray)]
        made = run(*args, **kwargs)
        several = made if isinstance(made, tuple) else (made,)
        found = [x.copy() if any(numpy.may_share_memory(x, y) for y in given) else x for x in several]
        return tuple(found) if isinstance(made, tuple) else found[0]

    return fresh


class _Stacked:
    """A stack in a program: where its arrays are among the program's.

    Parameters
    ----------
    stacks : mapping
    calls : sequence of Call
    is_copied : bool
        Whether the gradients are somewhere else, and not written into the stack.

    Attributes
    ----------
    copied, gradients : list of Value
        The gradients that are copied, and those that are not.
    """

    def __init__(self, stacks: MutableMapping[Any, Stack], calls: Sequence[Call], *, is_copied: bool) -> None:
        changed = [value for row in zip(*[call.changed for call in calls], strict=True) for value in row]
        kinds = [(value.leaf, value.shape) for value in changed]
        key = calls[0].name, *calls[0].numbers.items(), *kinds, changed[0].dtype
        self._stack = stacks.setdefault(key, Stack(calls))
        self._changed = changed
        gradients = [call.arrays["grad"] for call in calls]
        self.copied, self.gradients = (gradients, []) if is_copied else ([], gradients)
        self._given = frozenset(value.leaf for value in changed)
        self._left: Sequence[Array] | None = None  # in the stack, by the last step

    def bind(self, own: list[Any], slots: Mapping[Any, int]) -> None:
        """Let the arrays be these elements of a program's."""
        self._own = own
        self._changed_slots = [slots[value] for value in self._changed]
        self._gradient_slots = [slots[value] for value in self.gradients]
        self._pick = picker(self._changed_slots)

    def load(self, moved: Collection[int]) -> None:
        """Let what is changed be in the stack, unless it is that which was left there."""
        if self._stack.changed is not self._left or not self._given.isdisjoint(moved):
            self._stack.load(self._pick(self._own))
        if self.gradients:
            self._put(self._gradient_slots, self._stack.gradients)

    def step(self, *inputs: Any) -> None:
        """Take the step, given what is copied and the numbers, and let what it changed be what it is now."""
        n = len(self.copied)
        if self.copied:
            for row, gradient in zip(self._stack.gradients, inputs[:n], strict=True):
                row[...] = gradient
        self._stack.step(*inputs[n:])
        self._left = self._stack.changed
        self._put(self._changed_slots, self._left)

    def _put(self, slots: Sequence[int], arrays: Sequence[Array]) -> None:
        for slot, array in zip(slots, arrays, strict=True):
            self._own[slot] = array
