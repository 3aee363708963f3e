"""`xp.compile`: the program of a traced step is one kernel for whole scans, or a CUDA graph for each step."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import cupy

from xpnet.replay.replayed import Replayed
from xpnet.replay.trace import Trace
from xpnet_cupy.dense import Dense
from xpnet_cupy.graphs import CuPyProgram
from xpnet_cupy.persistent import fit
from xpnet_cupy.persistent.calls import NotPersistent
from xpnet_cupy.persistent.kernel import facts
from xpnet_cupy.persistent.plan import Plan, plan_of
from xpnet_cupy.persistent.program import PersistentProgram

# So many are looked at.
_ROWS = 1024


def program_of(trace: Trace, dense: Dense) -> CuPyProgram | PersistentProgram:
    """Return the program of a trace that is predicted to be the faster one."""
    graph = CuPyProgram(trace, dense)
    try:
        # A plan keeps its trace, which must not keep arrays.
        plan = plan_of(dataclasses.replace(trace, arguments=dict.fromkeys(trace.arguments)))
    except NotPersistent as e:
        graph.reason = str(e)
        return graph
    device = facts(cupy.cuda.Device().id)
    choice = fit.choice(plan, device, fit.graph_microseconds(trace), skipped=_skipped(trace, plan))
    if choice.size is not None:
        return PersistentProgram(trace, plan, choice.size, graph, reason=choice.reason)
    graph.reason, graph.note = choice.reason, choice.note
    return graph


def _skipped(trace: Trace, plan: Plan) -> int:
    """Return how many bytes of weights a step does not read since pixels are 0, going by the first rows.

    This waits for the device.
    """
    skipped = 0.0
    for call in plan.calls:
        x = plan.same_as(call.arrays["x"]) if call.name == "linear" else None
        if x in plan.listed and plan.sources[x].offset == 0:
            found = trace.arguments[plan.sources[x].rows][:_ROWS]
            zeros = 1 - int(cupy.count_nonzero(found)) / max(found.size, 1)
            skipped += zeros * plan.batch * math.prod(call.arrays["weight"].shape) * plan.dtype.itemsize
    return int(skipped)


def replayed(step: Any, dense: Dense) -> Replayed:
    """Return a step that is replaced by programs of what it does."""
    return Replayed(step, functools.partial(program_of, dense=dense))
