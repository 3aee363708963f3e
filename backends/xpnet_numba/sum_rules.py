"""Rules for gradients that are summed over a group of processes: they are made in the array that is summed.

The host calls the sum between stages. It has no threads of its own, so the team stays whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from xpnet.replay.lower import Lowering, Rule
from xpnet.replay.summed import Place, places
from xpnet.replay.trace import Call, Trace, Value

Array = Any


class SumRules:
    """What becomes of the calls that pack, sum and unpack.

    Parameters
    ----------
    trace : Trace
    call, host : callable
        Those of `lowering.Rules`.
    aliases : dict of Value to Value
        Values in the memory of others.

    Attributes
    ----------
    table : dict
        The rules by the names of functions; the first that takes a call wins.
    places : dict of Value to Place
        Where those values are that have no memory of their own.
    """

    def __init__(
        self,
        trace: Trace,
        call: Callable[..., None],
        host: Callable[..., bool],
        aliases: dict[Value, Value],
    ) -> None:
        self.places: dict[Value, Place] = {}
        self._trace = trace
        self._call = call
        self._host = host
        self._aliases = aliases
        self.table: dict[str, list[Rule]] = {
            "pack": [self._pack, self._copy],
            "unpack": [self._unpack, self._copy],
            "all_reduce": [self._all_reduce],
        }

    @functools.cached_property
    def _could_be(self) -> dict[Value, Place]:
        return places(self._trace)

    def _pack(self, lowering: Lowering, call: Call) -> bool:
        """Let what is packed be made in the flat array."""
        x = call.arrays["x"]
        if x in self._could_be and x not in self._aliases:
            self.places[x] = self._could_be[x]
        return x in self.places

    def _unpack(self, lowering: Lowering, call: Call) -> bool:
        """Let the result be what was packed there."""
        (result,) = call.results
        packed = [x for x, place in self.places.items() if place == self._could_be.get(result)]  # type: ignore[arg-type]
        if packed:
            self._aliases[result] = packed[0]  # type: ignore[index]
        return bool(packed)

    def _copy(self, lowering: Lowering, call: Call) -> bool:
        return self._host(lowering, call, has_threads=False)

    def _all_reduce(self, lowering: Lowering, call: Call) -> bool:
        """Let the host sum an array, and with it all that is made in it."""
        x = call.arrays["x"]
        parts = [value for value, place in self.places.items() if place.flat is x]

        def run(x: Array, *parts: Array) -> None:
            total = call.run(x)
            if total is not x:
                x[...] = total

        self._call(lowering, call, run, (), (x, *parts), has_threads=False)
        return True
