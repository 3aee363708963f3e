"""The interpreter, which carries out a program without Python, on one thread or on several.

A program is a sequence of stages. A stage is some consecutive operations, and the number of parts into which
their rows are divided. Each thread first takes its own parts, so that what a part uses stays in
the cache of one processor, and then those that others have left. The next stage begins when all parts
have ended. What a part computes does not depend on the thread that takes it, so neither does the result.
A program may be many steps, each of all its stages; before each step, addresses and numbers are changed.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xpnet_numba import layout
from xpnet_numba.kernels.compiled import entry, part
from xpnet_numba.kernels.memory import exchange, get, increase, put, read, rest, view, write
from xpnet_numba.kernels.products import block_of

Array = Any

_LOOKS = 1000
"""Reads of a value before a thread yields its processor."""


@entry
def work(control: int, program: int, member: int, patience: int, zero: Any) -> None:
    """Carry out a program or, with a member above 0, help the thread that has member 0 with its programs.

    Parameters
    ----------
    control : address of an array, int64
        The same for all threads. At first zeros, at least as many as `layout.control_size` says.
    program : address of an array, shape (PROGRAM_WIDTH,), int64
        Used only by member 0.
    member : int
    patience : int
        Reads without finding a program, after which a member above 0 returns.
    zero : float32 or float64
        Has the dtype of all floating-point arrays.
    """
    if member == 0:
        _lead(view(control, 1, 0), view(program, 1, 0), zero)
    else:
        _help(view(control, 1, 0), member, patience, zero)


@part
def _lead(control: Array, program: Array, zero: Any) -> None:
    for i in range(layout.PROGRAM_WIDTH):
        put(control, layout.PROGRAM + i, get(program, i))
    put(control, layout.ENDED, 0)
    for i in range(get(program, layout.COUNT) * get(program, layout.MEMBERS)):
        put(control, layout.TAKEN + i * layout.LINE, 0)
    _prepare(control, 0, zero)
    write(control, layout.OPEN, 1)
    _take_part(control, 0, zero)
    write(control, layout.OPEN, 0)
    looks = 0
    while read(control, layout.HELPING):  # The program may go once no thread reads it.
        looks = _look_again(looks)


@part
def _help(control: Array, member: int, patience: int, zero: Any) -> None:
    looks = 0
    while looks < patience:
        looks = _look_again(looks)
        if read(control, layout.OPEN):
            increase(control, layout.HELPING, 1)
            if read(control, layout.OPEN):
                _take_part(control, member, zero)
                looks = 0
            increase(control, layout.HELPING, -1)


@part
def _look_again(looks: int) -> int:
    if looks % _LOOKS == _LOOKS - 1:
        rest()
    return looks + 1


@part
def _take_part(control: Array, member: int, zero: Any) -> None:
    """Carry out parts of each stage of each step, and wait for the end of the stage.

    Counters only grow, so a thread that comes late begins with the step at hand, and one that was delayed
    finds nothing left of steps that have ended. Who ends the last part of a step prepares the next one.
    """
    steps, ends = _of_program(control, layout.STEPS), _of_program(control, layout.ENDS)
    count = _of_program(control, layout.COUNT)
    step = read(control, layout.ENDED) // ends
    while step < steps:
        ended = step * ends
        for stage in range(count):
            found = _take_of_stage(control, step, stage, member, zero)
            ended += get(_stage(control, stage), layout.PARTS)
            if found > 0 and increase(control, layout.ENDED, found) + found == ended and stage == count - 1:
                if step + 1 < steps:
                    _prepare(control, step + 1, zero)
                increase(control, layout.ENDED, 1)
            _wait(control, ended)
        step += 1
        _wait(control, step * ends)


@part
def _wait(control: Array, ended: int) -> None:
    looks = 0
    while read(control, layout.ENDED) < ended:
        looks = _look_again(looks)


@part
def _take_of_stage(control: Array, step: int, stage: int, member: int, zero: Any) -> int:
    """Carry out parts of a stage, its own first, and return how many."""
    columns, members = _stage(control, stage), _of_program(control, layout.MEMBERS)
    parts, found = get(columns, layout.PARTS), 0
    for i in range(members):
        taken = (member + i) % members
        begin, end = block_of(parts, taken, members)
        at, last = layout.TAKEN + (stage * members + taken) * layout.LINE, (step + 1) * (end - begin)
        while True:
            before = read(control, at)
            if before >= last:
                break
            if exchange(control, at, before, before + 1):
                for operation in range(
                    get(columns, layout.FIRST_OPERATION), get(columns, layout.END_OPERATION)
                ):
                    _carry_out(control, operation, end - (last - before), parts, zero)
                found += 1
    return found


@part
def _prepare(control: Array, step: int, zero: Any) -> None:
    """Change what differs from step to step: addresses, and numbers of operations."""
    slots = view(_of_program(control, layout.SLOTS), 1, 0)
    for i in range(_of_program(control, layout.MOVE_COUNT)):
        move = view(_of_program(control, layout.MOVES) + i * layout.MOVE_WIDTH * 8, layout.MOVE_WIDTH, 0)
        slot = get(move, layout.SLOT)
        put(slots, slot, get(slots, slot) + get(move, layout.BYTES))
    for i in range(_of_program(control, layout.SWAP_COUNT)):
        swap = view(_of_program(control, layout.SWAPS) + i * layout.SWAP_WIDTH * 8, layout.SWAP_WIDTH, 0)
        one, other = get(swap, layout.ONE), get(swap, layout.OTHER)
        address = get(slots, one)
        put(slots, one, get(slots, other))
        put(slots, other, address)
    numbers = view(
        _of_program(control, layout.TABLE) + step * _of_program(control, layout.TABLE_BYTES), 1, zero
    )
    for i in range(_of_program(control, layout.COPY_COUNT)):
        copy = view(_of_program(control, layout.COPIES) + i * layout.COPY_WIDTH * 8, layout.COPY_WIDTH, 0)
        target = view(get(copy, layout.TARGET), 1, zero)
        for j in range(get(copy, layout.SIZE)):
            put(target, j, get(numbers, get(copy, layout.COLUMN) + j))


@part
def _stage(control: Array, stage: int) -> Array:
    return view(_of_program(control, layout.STAGES) + stage * layout.STAGE_WIDTH * 8, layout.STAGE_WIDTH, 0)


@part
def _of_program(control: Array, i: int) -> int:
    return get(control, layout.PROGRAM + i)


@part
def _carry_out(control: Array, operation: int, this: int, parts: int, zero: Any) -> None:
    """Carry out part `this` of an operation; all of one that is not divided is in part 0."""
    row = _of_program(control, layout.OPERATIONS) + operation * _of_program(control, layout.OPERATION_BYTES)
    columns = view(row, layout.DETAILS, 0)
    length = get(columns, layout.LENGTH)
    first, end = block_of(length, this, parts)
    if length == 0:
        first, end = 0, 1 if this == 0 else 0
    if first < end:
        numbers = _of_program(control, layout.NUMBERS) + operation * _of_program(
            control, layout.NUMBERS_BYTES
        )
        slots = _of_program(control, layout.SLOTS)
        _call(get(columns, layout.FUNCTION), row + layout.DETAILS * 8, numbers, slots, first, end, zero)


@intrinsic
def _call(
    typing: Any, address: int, row: int, numbers: int, slots: int, first: int, end: int, zero: Any
) -> Any:
    """Call the operation at an address."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [arg.type for arg in args[1:]])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, zero), make
