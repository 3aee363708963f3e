"""The CUDA source of a persistent kernel: the functions of the CUDA files, and a kernel for one plan.

The kernel has a line for each operation, with the shapes as template arguments.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from xpnet_cupy import source
from xpnet_cupy.launch import WARP
from xpnet_cupy.persistent import memory
from xpnet_cupy.persistent.calls import width_of
from xpnet_cupy.persistent.names import Names, c_type
from xpnet_cupy.persistent.planned import Plan
from xpnet_cupy.persistent.rows import Rows
from xpnet_cupy.persistent.sources import Sources
from xpnet_cupy.persistent.tiles import TileLines

FILES = "persistent.cu", "persistent_rows.cu", "persistent_tiles.cu"

FUNCTIONS = "\n".join(
    (pathlib.Path(__file__).parents[1] / name).read_text(encoding="utf-8") for name in FILES
)
INDENT = "    "


def source_of(plan: Plan, *, blocks: int, threads: int) -> str:
    """Return the CUDA source of the kernel `persistent`, which carries out a scan of steps.

    Parameters
    ----------
    plan : Plan
    blocks : int
        All must be resident at once.
    threads : int
        Of a block; a multiple of 32.
    """
    if blocks < 1 or threads < WARP or threads % WARP:
        raise ValueError(
            f"`threads` must be a multiple of {WARP}, and `blocks` at least 1, got {threads}, {blocks}"
        )
    constants = f"constexpr int BLOCKS = {blocks}, THREADS = {threads}, BATCH = {plan.batch};"
    kernel = _Kernel(plan, blocks, threads)
    return "\n".join([source.CODE, constants, FUNCTIONS, *kernel.lines()]) + "\n"


class _Kernel:
    """Writes the kernel of a plan."""

    def __init__(self, plan: Plan, blocks: int, threads: int) -> None:
        self._plan = plan
        self._names = Names(plan)
        self._layout = memory.layout_of(plan, threads)
        self._rows = Rows(plan, self._names, self._layout)
        self._sources = Sources(plan, self._names, self._layout, blocks)
        self._tiles = TileLines(plan, self._names, memory.tiles_of(plan, blocks, threads), threads)

    def lines(self) -> Iterator[str]:
        plan = self._plan
        yield f"using T = {c_type(plan.dtype)};"
        yield ""
        yield 'extern "C" __global__ void __launch_bounds__(THREADS, 1) persistent('
        yield f",\n{INDENT}".join(["", *self._parameters()])[2:] + ")"
        yield "{"
        yield from _indented(self._body())
        yield "}"

    def _parameters(self) -> Iterator[str]:
        plan, names = self._plan, self._names
        for value in plan.arguments:
            const = "const " if value in plan.strided else ""
            yield f"{const}{c_type(value.dtype)}* {names.argument(value)}"
        for value in plan.strided:
            yield f"Index {names.stride(value)}"
        yield "T* scratch"
        yield "const T* numbers" if plan.numbers else "const T*"
        for i in range(len(plan.counts)):
            yield f"Index count{i}"
        yield from ("unsigned* barrier", "unsigned base", "int steps")

    def _body(self) -> Iterator[str]:
        yield "// In shared memory"
        yield from self._memory()
        yield "// Rows of arguments, by the number of a step"
        yield from self._sources.declared()
        yield ""
        yield from self._tiles.load()
        yield from self._sources.first()
        yield from self._tiles.stage("0")
        yield "__syncthreads();"
        yield "for (int step = 0; step < steps; ++step) {"
        yield from _indented(self._step())
        yield "}"
        yield from self._tiles.save()

    def _memory(self) -> Iterator[str]:
        plan, names, at = self._plan, self._names, self._layout
        if self._tiles.is_kept:
            yield f"T* const all_kept = shared_at<T>({at.kept});"
        if plan.listed:
            yield f"int* const counts = shared_at<int>({at.counts});"
        if self._rows.needs_slots or self._sources.needs_slots:
            yield f"T* const slots = shared_at<T>({at.slots});"
        for value, place in at.places.items():
            name = names[value]
            yield f"int* const {name}_places = shared_at<int>({place});"
            yield f"T* const {name}_values = shared_at<T>({at.values[value]});"
        for value, place in at.rows.items():
            yield f"T* const {names[value]} = shared_at<T>({place});  // {width_of(value)}"
        if any(call.name == "linear" for call in plan.calls):
            yield f"T* const parts = shared_at<T>({at.parts});"
        for value, place in at.held.items():
            yield f"T* const {names[value]}_held = shared_at<T>({place});"
        if self._tiles.is_staged:
            yield f"T* const ahead = shared_at<T>({at.ahead});"
        yield f"T* const inputs = shared_at<T>({at.inputs});"
        yield f"T* const tile_parts = shared_at<T>({at.tile_parts});"

    def _step(self) -> Iterator[str]:
        plan, names, sources = self._plan, self._names, self._sources
        if plan.numbers:
            yield f"const T* now = numbers + static_cast<Index>(step) * {len(plan.numbers)};"
        for value in names.plain_strided():
            at = f"{names.argument(value)} + step * {names.stride(value)}"
            yield f"const {c_type(value.dtype)}* {names[value]} = {at};"
        yield from self._rows.holds()
        yield from sources.step()
        yield "for (Index row = renewed(blockIdx.x); row < BATCH; row += BLOCKS) {"
        yield from _indented([*sources.others(), *self._rows.lines()])
        yield "}"
        yield "grid_arrive(barrier);"
        yield from sources.ahead()
        yield "grid_wait(barrier, base += BLOCKS);"
        yield from self._tiles.step()
        yield "grid_arrive(barrier);"
        yield from self._tiles.stage_next()
        yield from sources.ask()
        yield "grid_wait(barrier, base += BLOCKS);"


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (INDENT + line if line else line for line in lines)
