"""Whether two stages are enough for a step: rows of the batch, then parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xpnet.replay.stages import Operation, in_stages
from xpnet.replay.trace import Call, Trace, Value
from xpnet_cupy.persistent.calls import NotPersistent
from xpnet_cupy.persistent.planned import Step

ROWS, PARAMETERS = 0, 1  # stages


def check_stages(
    trace: Trace,
    calls: Sequence[Call],
    steps: Sequence[Step],
    sums: Sequence[Call],
    *,
    same: Mapping[Value, Value],
    batch: int,
) -> None:
    """Raise NotPersistent if something is read after the step has changed it.

    Parameters
    ----------
    trace : Trace
    calls, steps, sums, same, batch
        See `Plan`.
    """
    of_calls = {call: _row_operation(call, same, batch) for call in calls}
    of_steps = {step.call: _step_operation(step) for step in steps}
    of_sums = {
        call: Operation(call.name, (call.arrays["value"], call.arrays["total"]), "Ru") for call in sums
    }
    every = of_calls | of_steps | of_sums
    in_stages(every[call] for call in trace.calls if call in every)
    late = [o.name for o in of_calls.values() if o.stage != ROWS]
    late += [o.name for o in (*of_steps.values(), *of_sums.values()) if o.stage > PARAMETERS]
    if late:
        raise NotPersistent(f"`nn.{late[0]}` needs what the step has changed before")


def _row_operation(call: Call, same: Mapping[Value, Value], batch: int) -> Operation:
    """Return a call as an operation by rows of the batch."""
    is_layer = call.name.startswith("linear")
    read = [
        (value, "R" if is_layer and name in ("weight", "bias") else "r")
        for name, value in call.arrays.items()
        if not (call.name == "linear_backward" and name == "x")
    ]
    made = call.results[:1] if call.name == "linear_backward" else call.results
    operands = [*read, *((value, "w") for value in made if value is not None)]
    values = tuple(same.get(value, value) for value, _ in operands)
    return Operation(call.name, values, "".join(access for _, access in operands), batch)


def _step_operation(step: Step) -> Operation:
    read = [value for value in (step.x, step.dy) if value is not None]
    access = "R" * len(read) + "u" * len(step.call.changed)
    return Operation(step.call.name, (*read, *step.call.changed), access, step.shape[0])
