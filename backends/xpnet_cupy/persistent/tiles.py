"""Lines of the second stage of a step: gradients and steps of parameters, by tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xpnet.replay.trace import Running, Value
from xpnet_cupy import source
from xpnet_cupy.persistent import memory
from xpnet_cupy.persistent.names import Names, real
from xpnet_cupy.persistent.numbers import counted_of, fields_of
from xpnet_cupy.persistent.planned import Plan, Step


class TileLines:
    """The lines of a plan.

    Parameters
    ----------
    plan : Plan
    names : Names
    tiles : Tiles
    threads : int

    Attributes
    ----------
    is_kept : bool
        Whether a block keeps its parameters and their states in shared memory.
    is_staged : bool
        Whether the inputs that come from arguments are read while the block waits for others.
    """

    def __init__(self, plan: Plan, names: Names, tiles: memory.Tiles, threads: int) -> None:
        self._plan, self._names, self._tiles = plan, names, tiles
        # A block with several tiles would need the inputs of all of them.
        self.is_staged = (
            tiles.turns == 1 and plan.batch <= memory.SAMPLES and any(map(plan.is_given, plan.steps))
        )
        self.is_kept = tiles.turns * tiles.most() <= memory.kept_capacity(plan, threads)

    def load(self) -> Iterator[str]:
        """Yield what reads parameters and states."""
        if self.is_kept:
            yield from self._turns(self._loaded, with_sums=False)

    def save(self) -> Iterator[str]:
        """Yield what writes states; parameters are written in each step."""
        if self.is_kept and any(step.call.changed[1:] for step in self._plan.steps):
            yield from self._turns(self._saved, with_sums=False)

    def step(self) -> Iterator[str]:
        """Yield the second stage of a step."""
        yield from self._turns(self._stepped, with_sums=True)

    def stage(self, number: str) -> Iterator[str]:
        """Yield what reads the inputs for the second stage of a step that come from arguments."""
        for step in filter(self._plan.is_given, self._plan.steps if self.is_staged else ()):
            first, (height, width) = self._tiles.first[step], step.shape
            rows, columns = self._tiles.rows[step], self._tiles.columns[step]
            end = first + -(-height // rows) * -(-width // columns)
            source, top = self._source(step, number), f"Tiles<{self._tile(step)}>(blockIdx.x - {first}).top"
            yield f"if ({first} <= int(blockIdx.x) && blockIdx.x < {end}) {{"
            yield f"    stage_inputs<{height}, {rows}>(ahead, {source}, {top}, 0);"
            yield "}"

    def stage_next(self) -> Iterator[str]:
        """Yield the same of the next step, if there is one."""
        lines = [*self.stage("step + 1")]
        if lines:
            yield "if (step + 1 < steps) {"
            yield from (f"    {line}" for line in lines)
            yield "}"

    def _turns(self, lines: Callable[[Step], list[str]], *, with_sums: bool) -> Iterator[str]:
        """Yield lines for each tile of a block."""
        tiles, plan = self._tiles, self._plan
        first = "int turn = 0, tile = renewed(blockIdx.x)"
        yield f"for ({first}; tile < {tiles.count}; ++turn, tile += BLOCKS) {{"
        if self.is_kept:
            yield f"    T* const kept = all_kept + turn * {tiles.most()};"
        ends = [*list(tiles.first.values())[1:], tiles.count - len(plan.sums)]
        for i, (step, end) in enumerate(zip(plan.steps, ends, strict=True)):
            yield f"    {'} else ' if i else ''}if (tile < {end}) {{"
            yield from (f"        {line}" for line in lines(step))
        for i, call in enumerate(plan.sums if with_sums else ()):
            yield f"    }} else if (tile == {tiles.count - len(plan.sums) + i}) {{"
            loss = plan.trace.maker(call.arrays["value"])
            weight = (
                f"{self._names[call.arrays['weights']]}_sum"
                if "weights" in call.arrays
                else real(call.numbers["weight"])
            )
            assert loss is not None
            total = self._names[call.arrays["total"]]
            yield f"        add_losses({total}, scratch + {plan.places[loss]}, {weight});"
        yield "    }"
        yield "}"

    def _tile(self, step: Step) -> str:
        height, width = step.shape
        return f"{height}, {width}, {self._tiles.rows[step]}, {self._tiles.columns[step]}"

    def _number(self, step: Step) -> str:
        first = self._tiles.first[step]
        return f"tile - {first}" if first else "tile"

    def _kept(self, step: Step, i: int) -> str:
        """Return where a block keeps the parameter (0) or a state of a tile."""
        size = self._tiles.rows[step] * self._tiles.columns[step]
        return f"kept + {i * size}" if i else "kept"

    def _loaded(self, step: Step) -> list[str]:
        tile = f"Tiles<{self._tile(step)}>({self._number(step)})"
        return [
            f"load_tile({tile}, {self._kept(step, i)}, {self._names[v]});"
            for i, v in enumerate(step.call.changed)
        ]

    def _saved(self, step: Step) -> list[str]:
        tile = f"Tiles<{self._tile(step)}>({self._number(step)})"
        states = list(enumerate(step.call.changed))[1:]
        return [f"save_tile({tile}, {self._kept(step, i)}, {self._names[v]});" for i, v in states]

    def _stepped(self, step: Step) -> list[str]:
        is_staged = self.is_staged and self._plan.is_given(step)
        flags = f"{self.is_kept}, {is_staged}".lower()
        param, kept = self._names[step.param], "kept" if self.is_kept else "static_cast<T*>(nullptr)"
        rows, inputs = self._source(step, "step"), "ahead" if is_staged else "inputs"
        dy = f"scratch + {self._plan.places[self._plan.same_as(step.dy)]}"
        return [
            f"step_tile<{flags}, {self._tile(step)}>(",
            f"    {self._number(step)}, {param}, {kept}, {self._rule(step)},",
            f"    {rows}, {dy}, {inputs}, tile_parts);",
        ]

    def _source(self, step: Step, number: str) -> str:
        """Return what the inputs of a layer are read from."""
        if step.x is None:
            return "Ones<T>{}"
        x = self._plan.same_as(step.x)
        if x in self._plan.sources:
            return f"{self._names[x]}_rows({number})"
        return f"Written<T>{{scratch + {self._plan.places[x]}}}"

    def _rule(self, step: Step) -> str:
        """Return the rule of a step as its struct."""
        call = step.call
        states: dict[str, Value] = {name: call.arrays[name] for name in call.function.changed[1:]}
        fields = []
        for name, kind, number in fields_of(call):
            if name in states:
                place = self._kept(step, call.changed.index(states[name]))
                fields.append(place if self.is_kept else self._names[states[name]])
            elif kind == "pointer":
                counted = counted_of(call)
                fields.append(self._now(*counted) if counted else "nullptr")
            elif isinstance(number, Running):
                fields.append(f"{{T(0), {self._now(number)}}}")
            else:
                fields.append(f"{{{real(number)}, nullptr}}" if kind == "Number<T>" else real(number))
        return f"{source.RULES[call.name]}<T>{{{', '.join(fields)}}}"

    def _now(self, *wanted: Running) -> str:
        """Return where the numbers of a step are, which are neighbours."""
        numbers, n = self._plan.numbers, len(wanted)
        place = next(i for i in range(len(numbers)) if numbers[i : i + n] == wanted)
        return f"now + {place}"
