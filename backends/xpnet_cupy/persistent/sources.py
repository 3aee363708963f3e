"""Lines that read rows of arguments: most while the block would only wait for others.

While a step runs, the index of a block's row in the next step, and in the one after that, is in a register:
the row itself is then read without waiting for its index.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from xpnet.replay.trace import Value
from xpnet_cupy.persistent.calls import width_of
from xpnet_cupy.persistent.memory import Layout
from xpnet_cupy.persistent.names import Names, c_type, real
from xpnet_cupy.persistent.planned import Plan


class Sources:
    """The lines of a plan.

    Parameters
    ----------
    plan : Plan
    names : Names
    layout : Layout
    blocks : int
    """

    def __init__(self, plan: Plan, names: Names, layout: Layout, blocks: int) -> None:
        self._plan, self._names, self._layout, self._blocks = plan, names, layout, blocks
        of_calls = [plan.same_as(value) for call in plan.calls for value in call.arrays.values()]
        weights = [c.arrays["weights"] for c in (*plan.calls, *plan.sums) if "weights" in c.arrays]
        self._weights = [*dict.fromkeys(weights)]
        self._read = [value for value in dict.fromkeys(of_calls) if value in plan.sources]
        of_steps = [plan.same_as(step.x) for step in plan.steps if step.x is not None]
        every = dict.fromkeys([*self._read, *weights, *of_steps])
        self._all = [value for value in every if value in plan.sources]
        self._indices = [*dict.fromkeys(i for v in self._read if (i := plan.sources[v].indices) is not None)]

    @property
    def needs_slots(self) -> bool:
        """Whether the threads of a block combine numbers."""
        return bool(self._weights)

    def declared(self) -> Iterator[str]:
        """Yield functions that return the rows of a step, and variables for what is read of them."""
        plan, names = self._plan, self._names
        for value in self._all:
            found = plan.sources[value]
            rows, indices, kind = self._at(found.rows, "step"), "nullptr", "int"
            if found.indices is not None:
                indices, kind = self._at(found.indices, "step"), c_type(found.indices.dtype)
            yield f"auto {names[value]}_rows = [=](Index step) {{"
            yield f"    return Gathered<T, {c_type(found.rows.dtype)}, {kind}>{{"
            numbers = f"{found.rows.shape[0]}, {real(found.scale)}, {real(found.offset)}"
            yield f"        {rows}, {indices}, {numbers}}};"
            yield "};"
        for value in self._read:
            if value in plan.listed:
                yield f"int {names[value]}_count;"
            elif len(value.shape) == 1:
                yield f"{'T' if _is_float(value) else 'Index'} {names[value]};"
        for value in self._weights:
            yield f"T {names[value]}_next_sum;"
        yield "const int own_row = min(int(blockIdx.x), BATCH - 1);"

    def first(self) -> Iterator[str]:
        """Yield what reads the rows of the first step, and asks for those of the second."""
        for indices in self._indices:
            yield f"auto {self._next(indices)} = __ldg({self._names.argument(indices)} + own_row);"
        yield from self._lines("0", "next")
        second = "min(1, steps - 1)"
        for indices in self._indices:
            yield f"{self._next(indices)} = __ldg({self._at(indices, second)} + own_row);"
        yield from self._prefetch(second, "next")

    def step(self) -> Iterator[str]:
        """Yield what reads indices of the step after the next one, and keeps sums of weights."""
        for indices in self._indices:
            at = self._at(indices, "min(step + 2, steps - 1)")
            yield f"const auto {self._after(indices)} = __ldg({at} + own_row);"
        for value in self._weights:
            yield f"const T {self._names[value]}_sum = {self._names[value]}_next_sum;"

    def ahead(self) -> Iterator[str]:
        """Yield what reads the rows of the next step, and asks for those of the one after it."""
        lines = [*self._lines("step + 1", "next")]
        if lines:
            yield "if (step + 1 < steps) {"
            yield from (f"    {line}" for line in lines)
            yield "}"
        yield from self._prefetch("min(step + 2, steps - 1)", "after")
        for indices in self._indices:
            yield f"{self._next(indices)} = {self._after(indices)};"

    def others(self) -> Iterator[str]:
        """Yield what reads a row that is not the first one of the block."""
        if self._plan.batch <= self._blocks:
            return
        yield "if (row >= BLOCKS) {"
        for indices in self._indices:
            yield f"    const auto {self._names[indices]}_row = __ldg({self._at(indices, 'step')} + row);"
        yield from (f"    {line}" for line in self._lines("step", "row"))
        yield "    __syncthreads();"
        yield "}"

    def ask(self) -> Iterator[str]:
        """Yield what asks for other rows of the step after the next one, and for indices of the next one."""
        plan, names = self._plan, self._names
        if plan.batch > self._blocks:
            yield "if (step + 2 < steps) {"
            for value in filter(_is_float, self._read):
                rows = f"{names[value]}_rows(step + 2)"
                yield f"    prefetch_rows<{width_of(value)}>({rows}, blockIdx.x + BLOCKS);"
            yield "}"
        if self._indices:
            yield "if (step + 3 < steps) {"
            for indices in self._indices:
                yield f"    prefetch_indices({self._at(indices, 'step + 3')});"
            yield "}"

    def _lines(self, step: str, when: str) -> Iterator[str]:
        """Yield what reads a row."""
        for value in self._read:
            name, width = self._names[value], width_of(value)
            rows = f"{name}_rows({step})"
            at = f"{rows}.at<{width}>({self._index(value, when)})"
            if value in self._plan.listed:
                lists = f"{name}_places, {name}_values, counts"
                yield f"{name}_count = list_row<{width}>({lists}, {rows}, {at});"
            elif len(value.shape) > 1:
                yield f"gather_row<{width}>({name}, {rows}, {at});"
            else:
                yield f"{name} = {f'{rows}.value({at})' if _is_float(value) else f'__ldg({at})'};"
        for value in self._weights if when == "next" else ():
            yield f"{self._names[value]}_next_sum = whole_of<T>({self._names[value]}_rows({step}), slots);"

    def _prefetch(self, step: str, when: str) -> Iterator[str]:
        for value in filter(_is_float, self._read):
            width, index = width_of(value), self._index(value, when)
            yield f"prefetch_row<{width}>({self._names[value]}_rows({step}).at<{width}>({index}));"

    def _index(self, value: Value, when: str) -> str:
        """Return the index of a row: of this one, or of the block's first one in a later step."""
        indices = self._plan.sources[value].indices
        if indices is None:
            return "row" if when == "row" else "own_row"
        return f"{self._names[indices]}_{when}"

    def _next(self, indices: Value) -> str:
        return f"{self._names[indices]}_next"

    def _after(self, indices: Value) -> str:
        return f"{self._names[indices]}_after"

    def _at(self, argument: Value, step: str) -> str:
        """Return the address of an argument in a step."""
        number = step if step == "step" else f"({step})"
        return f"{self._names.argument(argument)} + {number} * {self._names.stride(argument)}"


def _is_float(value: Value) -> bool:
    return numpy.dtype(value.dtype).kind == "f"
