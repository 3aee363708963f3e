"""A program, carried out without Python, by one thread or by several together.

A program is stages, which follow each other; a stage is consecutive operations and into how many parts
their rows are divided. Each thread takes parts of its own share first, so that what a part uses stays in the
cache of one processor, and then those that others have left; the next stage begins when all parts have
ended. What a part computes does not depend on who took it, so neither does the result.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xpnet_numba.compiled import kernel, part
from xpnet_numba.memory import get, increase, read, rest, view, write
from xpnet_numba.operations import OPERANDS, SIZES
from xpnet_numba.products import block_of

Array = Any

FIRST_OPERATION, END_OPERATION, PARTS, STAGE_WIDTH = range(4)
"""Columns of a stage."""
FUNCTION, LENGTH, DETAILS = range(3)
"""Columns of an operation: an address; how many rows, 0 if it is not divided; then operands and sizes."""
WIDTH = DETAILS + OPERANDS + SIZES
OPERATIONS, NUMBERS, NUMBERS_WIDTH, SLOTS, STAGES, COUNT, SHARES, PROGRAM_WIDTH = range(8)
"""Elements of a program: addresses, but for the bytes of an operation's numbers, and two counts."""

# What threads share: integers that are written often have a cache line of their own.
_LINE = 8
_OPEN, _HELPING, _ENDED, _PROGRAM, _TAKEN = range(0, 5 * _LINE, _LINE)
_LOOKS = 1000
"""How often a value is looked at before the processor is offered to others."""


def control_size(stages: int, threads: int) -> int:
    """Return how many integers `control` needs."""
    return _TAKEN + stages * threads * _LINE


@kernel
def work(control: Array, program: Array, share: int, patience: int, zero: Any) -> None:
    """Carry out a program or, with a share above 0, take part in those of the thread with share 0.

    Parameters
    ----------
    control : array, int64
        The same for all threads. Zeros at first, as many as `control_size` says, or more.
    program : array, shape (PROGRAM_WIDTH,), int64
        Used for share 0 alone.
    share : int
    patience : int
        After how many looks for programs, all in vain, a share above 0 returns.
    zero : float32 or float64
        Tells the dtype of all floating-point arrays.
    """
    looks = 0
    if share == 0:
        for i in range(PROGRAM_WIDTH):
            control[_PROGRAM + i] = program[i]
        control[_ENDED] = 0
        for i in range(program[COUNT] * program[SHARES]):
            control[_TAKEN + i * _LINE] = 0
        write(control, _OPEN, 1)
        _take_part(control, share, zero)
        write(control, _OPEN, 0)
        while read(control, _HELPING):  # Nobody may look at the program any more when it is left.
            looks = _look_again(looks)
        return
    while looks < patience:
        looks = _look_again(looks)
        if read(control, _OPEN):
            increase(control, _HELPING, 1)
            if read(control, _OPEN):
                _take_part(control, share, zero)
                looks = 0
            increase(control, _HELPING, -1)


@part
def _look_again(looks: int) -> int:
    if looks % _LOOKS == _LOOKS - 1:
        rest()
    return looks + 1


@part
def _take_part(control: Array, share: int, zero: Any) -> None:
    """Carry out parts of each stage, those of a share first, and wait for its end."""
    stages, shares = _of_program(control, STAGES), _of_program(control, SHARES)
    ended = 0
    for stage in range(_of_program(control, COUNT)):
        columns = view(stages + stage * STAGE_WIDTH * 8, STAGE_WIDTH, 0)
        parts = get(columns, PARTS)
        for i in range(shares):
            taken = (share + i) % shares
            begin, end = block_of(parts, taken, shares)
            while True:
                this = begin + increase(control, _TAKEN + (stage * shares + taken) * _LINE, 1)
                if this >= end:
                    break
                for operation in range(get(columns, FIRST_OPERATION), get(columns, END_OPERATION)):
                    _carry_out(control, operation, this, parts, zero)
                increase(control, _ENDED, 1)
        ended += parts
        looks = 0
        while read(control, _ENDED) < ended:
            looks = _look_again(looks)


@part
def _of_program(control: Array, i: int) -> int:
    return get(control, _PROGRAM + i)


@part
def _carry_out(control: Array, operation: int, this: int, parts: int, zero: Any) -> None:
    """Carry out part `this` of an operation; one that is not divided is all in part 0."""
    row = _of_program(control, OPERATIONS) + operation * WIDTH * 8
    columns = view(row, WIDTH, 0)
    length = get(columns, LENGTH)
    first, end = block_of(length, this, parts)
    if length == 0:
        first, end = 0, 1 if this == 0 else 0
    if first < end:
        numbers = _of_program(control, NUMBERS) + operation * _of_program(control, NUMBERS_WIDTH)
        slots = _of_program(control, SLOTS)
        _call(get(columns, FUNCTION), row + DETAILS * 8, numbers, slots, first, end, zero)


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
