"""Which steps one persistent kernel can carry out, and what it needs for them.

A step of a multilayer perceptron has two stages. Forward, loss and back are done by rows of the batch; the
gradients of parameters and the steps of the optimizer by rows of the parameters. All blocks wait for each
other after each stage. So no parameter may be read after its step, and a value of a row must be made of
values of the same row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy

from xpnet.replay.trace import Call, Trace, Value
from xpnet_cupy.persistent.calls import (
    GATHERS,
    SAME_ROWS,
    NotPersistent,
    check_call,
    is_row_function,
    rows_of,
    whole_numbers,
)
from xpnet_cupy.persistent.memory import aligned
from xpnet_cupy.persistent.numbers import numbers_of
from xpnet_cupy.persistent.planned import Plan, Source, Step
from xpnet_cupy.persistent.stages import check_stages

__all__ = ["NotPersistent", "Plan", "plan_of"]

FLOATS = numpy.dtype("float32"), numpy.dtype("float64")


def plan_of(trace: Trace) -> Plan:
    """Return how a persistent kernel carries out a traced step.

    Raises
    ------
    NotPersistent
        If it cannot; the message says why.
    """
    return _Planner(trace).plan()


class _Planner:
    """Checks a trace, and finds what a plan holds."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._made: set[Value] = set()  # rows of the batch
        self._sources: dict[Value, Source] = {}
        self._same: dict[Value, Value] = {}
        for call in trace.calls:
            check_call(call)
        linear = next((call for call in trace.calls if call.name == "linear"), None)
        if linear is None:
            raise NotPersistent("the step has no linear layer")
        self._batch = linear.arrays["x"].shape[0]
        self._dtype = numpy.dtype(linear.arrays["weight"].dtype)
        if self._dtype not in FLOATS:
            raise NotPersistent(f"its parameters are {self._dtype}")

    def plan(self) -> Plan:
        trace = self._trace
        steps = [self._step(call) for call in trace.calls if call.function.is_step]
        if not steps:
            raise NotPersistent("it takes no step of an optimizer")
        sums = [c for c in trace.calls if c.name.startswith("accumulate") and c.results[0] in trace.returned]
        for call in trace.calls:
            if is_row_function(call):
                self._row_call(call)
        totals = {self._total(call): call.arrays["total"] for call in sums}
        needed = self._needed(steps, sums)
        calls = [
            call
            for call in trace.calls
            if is_row_function(call)
            and call.name not in (*GATHERS, *SAME_ROWS)
            and needed.intersection(_rows_made(call) if call.name == "linear_backward" else call.results)
        ]
        self._check_steps(steps)
        self._check_results(totals)
        check_stages(trace, calls, steps, sums, same=self._same, batch=self._batch)
        return self._finished(calls, steps, sums, totals)

    def _row_call(self, call: Call) -> None:
        """Note what a call makes of rows, and check what it is given."""
        if call.name in GATHERS:
            return self._gather(call)
        for name, value in call.arrays.items():
            if call.name.startswith("linear") and name in ("weight", "bias"):
                self._check_parameter(call, value)
            else:
                self._check_row(call, name, value)
        for value in _rows_made(call):
            if rows_of(value) != self._batch or len(value.shape) < 2 or 0 in value.shape:
                raise NotPersistent(
                    f"`nn.{call.name}` makes the shape {value.shape}: these are no rows of the batch"
                )
            self._check_dtype(call, value)
            self._made.add(value)
        if call.name in SAME_ROWS:
            given, made = next(iter(call.arrays.values())), call.results[0]
            if call.name.endswith("_backward"):
                given = call.arrays["dy"]
            assert made is not None
            self._same[made] = self._same.get(given, given)
        return None

    def _gather(self, call: Call) -> None:
        rows, indices = (
            call.arrays["images" if call.name == "gather_batch" else "labels"],
            call.arrays["indices"],
        )
        for value in (rows, indices):
            self._check_given(call, value)
        if 0 in (*rows.shape, *indices.shape):
            raise NotPersistent(f"`nn.{call.name}` gathers from or by an empty array")
        whole_numbers(call, indices)
        (made,) = call.results
        assert made is not None
        if call.name == "gather_labels":
            whole_numbers(call, rows)
            self._sources[made] = Source(rows, indices)
        else:
            if numpy.dtype(rows.dtype) not in (*FLOATS, numpy.dtype("uint8")):
                raise NotPersistent(f"`nn.{call.name}` gathers from {rows.dtype}")
            self._sources[made] = Source(
                rows, indices, float(call.numbers["scale"]), float(call.numbers["offset"])
            )
            self._check_dtype(call, made)
        if rows_of(made) != self._batch:
            raise NotPersistent(
                f"`nn.{call.name}` gathers {rows_of(made)} rows, but the batch has {self._batch}"
            )
        self._made.add(made)

    def _check_row(self, call: Call, name: str, value: Value) -> None:
        """Check that an argument is a value of the rows of the batch."""
        if value not in self._made:
            self._check_given(call, value)
            if not value.shape or value.shape[0] != self._batch or 0 in value.shape:
                asked = f"`{name}` of `nn.{call.name}` has the shape {value.shape}"
                raise NotPersistent(f"{asked}: these are no rows of the batch")
            self._sources[value] = Source(value)
            self._made.add(value)
        if call.function.arrays[name].kind == "int":
            whole_numbers(call, value)
        else:
            self._check_dtype(call, value)

    def _check_given(self, call: Call, value: Value) -> None:
        if value.leaf is None:
            raise NotPersistent(f"`nn.{call.name}` is given what other functions have made of whole arrays")
        if value in self._trace.changed:
            raise NotPersistent(f"`nn.{call.name}` takes rows of an array that the step changes")

    def _check_parameter(self, call: Call, value: Value) -> None:
        if value.leaf is None:
            raise NotPersistent(f"a parameter of `nn.{call.name}` is no argument of the step")
        if 0 in value.shape:
            raise NotPersistent(f"a parameter of `nn.{call.name}` is empty")
        self._check_dtype(call, value)

    def _check_dtype(self, call: Call, value: Value) -> None:
        if numpy.dtype(value.dtype) != self._dtype:
            raise NotPersistent(f"`nn.{call.name}` has {value.dtype}, but the first layer {self._dtype}")

    def _step(self, call: Call) -> Step:
        trace, grad = self._trace, call.arrays["grad"]
        backward = trace.maker(grad)
        if backward is None or backward.name != "linear_backward":
            raise NotPersistent(f"`nn.{call.name}` is given another gradient than that of a linear layer")
        if trace.only_user(grad) is None:
            raise NotPersistent("a gradient of a parameter has another use than its step")
        for value in call.changed:
            self._check_dtype(call, value)
            if value.leaf is None:
                raise NotPersistent(f"`nn.{call.name}` changes what is no argument of the step")
        x = backward.arrays["x"] if grad is backward.result("d_weight") else None
        return Step(call, x, backward.arrays["dy"])

    def _check_steps(self, steps: Sequence[Step]) -> None:
        """Check that a step is the only change of a parameter, and the only use of its state."""
        changed = [value for step in steps for value in step.call.changed]
        if len({*changed}) < len(changed):
            raise NotPersistent("a parameter or its state is changed twice")
        for step in steps:
            if self._same.get(step.dy, step.dy) in self._sources:
                raise NotPersistent("the gradient at the output of a layer is an argument of the step")
            for value in step.call.changed[1:]:
                if len(self._trace.users(value)) > 1:
                    raise NotPersistent(f"the state of `nn.{step.call.name}` has another use")
            for user, name in self._trace.users(step.param):
                if user is not step.call and not (
                    user.name.startswith("linear") and name in ("weight", "bias")
                ):
                    raise NotPersistent(f"a parameter is also `{name}` of `nn.{user.name}`")

    def _total(self, call: Call) -> Value:
        trace, total, new = self._trace, call.arrays["total"], call.results[0]
        assert new is not None
        self._check_dtype(call, total)
        if "weights" in call.arrays:
            self._check_row(call, "weights", call.arrays["weights"])
        loss = trace.maker(call.arrays["value"])
        if loss is None or not loss.function.is_loss or trace.only_user(call.arrays["value"]) is None:
            raise NotPersistent(f"`nn.{call.name}` is given what is no loss, or is used elsewhere")
        if total.leaf is None or trace.only_user(total) is None or trace.users(new):
            raise NotPersistent("a total of losses has another use")
        return new

    def _check_results(self, totals: dict[Value, Value]) -> None:
        for value in self._trace.returned:
            if value.leaf is None and value not in totals:
                maker = self._trace.maker(value)
                name = f"`nn.{maker.name}`" if maker else "another function"
                raise NotPersistent(
                    f"the step returns what {name} makes, which is never in memory as a whole"
                )

    def _needed(self, steps: Sequence[Step], sums: Sequence[Call]) -> set[Value]:
        """Return the values that the steps and the totals are made of."""
        needed: set[Value] = set()
        for step in steps:
            needed.update(value for value in (step.x, step.dy) if value is not None)
        for call in sums:
            needed.update(call.arrays.values())
        for call in reversed(self._trace.calls):
            if not is_row_function(call) or not needed.intersection(call.results):
                continue
            read = dict(call.arrays)
            if call.name == "linear_backward":
                if call.result("dx") not in needed:
                    continue
                read.pop("x")
            needed.update(read.values())
        return needed

    def _finished(
        self, calls: Sequence[Call], steps: Sequence[Step], sums: Sequence[Call], totals: dict[Value, Value]
    ) -> Plan:
        of_steps = dict.fromkeys(tuple(numbers_of(step.call)) for step in steps)
        numbers = tuple(number for together in of_steps for number in together)
        counts = tuple(dict.fromkeys(n for call in calls for n in call.running.values()))
        used = self._used(calls, steps, sums)
        strided = tuple(value for value in used if value not in self._trace.changed | {*totals.values()})
        places: dict[Value | Call, int] = {}
        size = 0
        for step in steps:
            for value in (step.x, step.dy):
                kept = None if value is None else self._same.get(value, value)
                if kept is not None and kept not in self._sources and kept not in places:
                    places[kept] = size
                    size += aligned(math.prod(kept.shape), self._dtype)
        for call in calls:
            if call.function.is_loss:
                places[call] = size
                size += aligned(self._batch, self._dtype)
        return Plan(
            self._trace,
            self._dtype,
            self._batch,
            self._sources,
            self._same,
            tuple(calls),
            tuple(steps),
            tuple(sums),
            used,
            strided,
            numbers,
            counts,
            totals,
            places,
            size,
        )

    def _used(self, calls: Sequence[Call], steps: Sequence[Step], sums: Sequence[Call]) -> tuple[Value, ...]:
        """Return the arguments that the kernel reads or changes, in order of their first use."""
        found: dict[Value, None] = {}
        read = [value for call in calls for value in call.arrays.values()]
        read += [value for step in steps for value in (step.x, *step.call.changed) if value is not None]
        read += [value for call in sums for value in call.arrays.values()]
        for value in read:
            source = self._sources.get(self._same.get(value, value))
            for argument in (value,) if source is None else (source.rows, source.indices):
                if argument is not None and argument.leaf is not None:
                    found.setdefault(argument)
        return tuple(found)


def _rows_made(call: Call) -> list[Value]:
    """Return the results of a row function that are rows of the batch."""
    made = call.results[:1] if call.name == "linear_backward" else call.results[call.function.is_loss :]
    return [value for value in made if value is not None]
