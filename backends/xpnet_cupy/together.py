"""Which calls of a trace can be done together, or later than they were."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from xpnet import nn
from xpnet.replay.lower import Lowering, Rule
from xpnet.replay.trace import Call, Trace, Value
from xpnet_cupy import source


def if_declared(rule: Rule) -> Rule:
    """Return a rule that takes only calls whose arrays are those of the declaration."""
    return lambda lowering, call: is_declared(call) and rule(lowering, call)


def if_constant(rule: Rule) -> Rule:
    """Return a rule that takes only calls without floats that differ from call to call."""
    return lambda lowering, call: (
        all(number.function is None for number in call.running.values()) and rule(lowering, call)
    )


def takes_its_numbers(step: Call) -> bool:
    """Return whether the rule of a step takes those of its floats that differ from call to call."""
    computed = {name for name, number in step.running.items() if number.function is not None}
    return computed <= source.varying(step.name)


def is_declared(call: Call) -> bool:
    """Return whether the arrays of a call are those of the declaration."""
    return call.sizes is not None


def draws(function: nn.Function) -> bool:
    """Return whether a function takes the key of random numbers."""
    return any(form.kind == "key" for form in function.arguments.values())


def gathers_labels(lowering: Lowering, call: Call) -> Call | None:
    """Return the call that gathers labels by the indices of this one, if both can be done at once."""
    trace, indices = lowering.trace, call.arrays["indices"]
    for user, _ in trace.users(indices):
        is_open = trace.index(user) > trace.index(call) and not lowering.is_taken(user)
        if user.name == "gather_labels" and is_open and is_declared(user):
            labels = user.arrays["labels"]
            # An index below 0 counts from the end, which must be the same one.
            is_as_long = labels.shape == call.arrays["images"].shape[:1]
            if labels.dtype == indices.dtype and is_as_long and is_ready(trace, labels, call):
                return user
    return None


def is_ready(trace: Trace, value: Value, call: Call) -> bool:
    """Return whether a value that a later call uses is the same one before this call."""
    maker = trace.maker(value)
    is_made = maker is None or trace.index(maker) < trace.index(call)
    return is_made and value not in trace.changed


def can_wait(
    trace: Trace, call: Call, until: Call, *, reads: Collection[Value] = (), makes: Collection[Value] = ()
) -> bool:
    """Return whether a call can be done where a later one is.

    No call up to that one, itself included, may change what this one reads or use what it makes.
    """
    others = trace.calls[trace.index(call) + 1 : trace.index(until) + 1]
    changed = {value for other in others for value in other.changed}
    used = {value for other in others for value in other.arrays.values()}
    return changed.isdisjoint(reads) and used.isdisjoint(makes)


def are_alike(steps: Sequence[Call], *factors: Value) -> bool:
    """Return whether one kernel can take these steps of a weight and a bias by the product of two factors."""
    of_weight, of_bias = steps
    dtypes = {value.dtype for value in (*factors, *of_weight.changed, *of_bias.changed)}
    return (
        of_weight.name in source.RULES
        and of_weight.name == of_bias.name
        and of_weight.numbers == of_bias.numbers
        and all(map(is_declared, steps))
        and len(dtypes) == 1
    )
