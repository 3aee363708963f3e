"""The layout of programs in memory, which Python writes and compiled code reads.

An operation is called by address. It is given the addresses of its whole numbers (for each operand the index
of the slot that holds its address, then the lengths of the axes), of its floating-point numbers, and of the
slots; then which rows to make, and a zero of the dtype of all floating-point arrays.
"""

FIRST_OPERATION, END_OPERATION, PARTS, STAGE_WIDTH = range(4)
"""Columns of a stage."""
FUNCTION, LENGTH, DETAILS = range(3)
"""Columns of an operation: an address; how many rows, 0 if it is not divided; then its whole numbers."""
OPERATIONS, OPERATION_BYTES, NUMBERS, NUMBERS_BYTES, SLOTS, STAGES, COUNT, MEMBERS = range(8)
"""Elements of a program: addresses, the bytes of one row of both tables, and counts of stages (at least 1)
and of threads."""
STEPS, ENDS, MOVES, MOVE_COUNT, SWAPS, SWAP_COUNT, COPIES, COPY_COUNT, TABLE, TABLE_BYTES = range(8, 18)
"""Further ones: how many steps, each of all stages, and by how much `ENDED` grows in one; then addresses and
counts of what is changed before each step, and the numbers of each step."""
PROGRAM_WIDTH = 18
SLOT, BYTES, MOVE_WIDTH = range(3)
"""Columns of a move: what is added to the address in a slot."""
ONE, OTHER, SWAP_WIDTH = range(3)
"""Columns of a swap: two slots."""
COLUMN, TARGET, SIZE, COPY_WIDTH = range(4)
"""Columns of a copy: where numbers begin in the row of `TABLE` for the step, an address, and how many."""

# What threads share. Integers that are written often have a cache line each.
LINE = 8
OPEN, HELPING, ENDED, PROGRAM = range(0, 4 * LINE, LINE)
TAKEN = PROGRAM + -(-PROGRAM_WIDTH // LINE) * LINE


def control_size(stages: int, threads: int) -> int:
    """Return the size of the integers that threads share, for programs of so many stages."""
    return TAKEN + stages * threads * LINE
