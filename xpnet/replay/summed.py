"""Gradients that can be made in the flat array in which a group of processes sums them.

A step packs its gradients into a flat array, sums that over the group and unpacks the sums. A program need
not copy them if the gradients are parts of the flat array's memory.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

from xpnet.replay.trace import Call, Trace, Value


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value can be in the memory of a flat array.

    Attributes
    ----------
    flat : Value
        An argument of the step.
    begin, end : int
        Which of its numbers the value is.
    """

    flat: Value
    begin: int
    end: int


def places(trace: Trace) -> dict[Value, Place]:
    """Return where each value can be that is packed, and that is unpacked, without any other results.

    Those that are packed must be written there. Nothing else may use them, because the sum takes their place.
    """
    found: dict[Value, Place] = {}
    for call in trace.calls:
        if call.name == "all_reduce" and call.arrays["x"].leaf is not None:
            found.update(_places(trace, call))
    return found


def _places(trace: Trace, sum_call: Call) -> dict[Value, Place]:
    flat, at = sum_call.arrays["x"], trace.index(sum_call)
    packed: dict[Value, Place] = {}
    unpacked: dict[Value, Place] = {}
    for call, name in trace.users(flat):
        if call is sum_call:
            continue
        is_pack = call.name == "pack" and trace.index(call) < at
        is_unpack = call.name == "unpack" and trace.index(call) > at
        if name != "flat" or not (is_pack or is_unpack) or call.sizes is None:
            return {}
        value = call.arrays["x"] if is_pack else call.results[0]
        begin: int = call.numbers["before"]
        place = Place(flat, begin, begin + math.prod(call.arrays["x"].shape))
        if is_pack and value in packed:
            return {}
        (packed if is_pack else unpacked)[value] = place  # type: ignore[index]
    ordered = sorted(packed.values(), key=lambda place: place.begin)
    if any(place.end > following.begin for place, following in itertools.pairwise(ordered)):
        return {}
    return {
        value: place
        for value, place in (*packed.items(), *unpacked.items())
        if value.dtype == flat.dtype
        and trace.maker(value) is not None
        and trace.changed.isdisjoint((value,))
        and value not in trace.returned
        and (value in unpacked or _is_packed_only(trace, value, flat))
    }


def _is_packed_only(trace: Trace, value: Value, flat: Value) -> bool:
    """Return whether a value is packed once, and else only gives what is unpacked its shape."""
    users = trace.users(value)
    only = all(
        name == "x" and call.name in ("pack", "unpack") and call.arrays["flat"] is flat
        for call, name in users
    )
    return only and sum(call.name == "pack" for call, _ in users) == 1
