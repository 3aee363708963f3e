"""The layout of programs in memory, which Python writes and compiled code reads.

An operation is called by address. It is given the addresses of its whole numbers (for each operand the index
of the slot that holds its address, then the lengths of the axes), of its floating-point numbers, and of the
slots; then which rows to make, and a zero of the dtype of all floating-point arrays.
"""

FIRST_OPERATION, END_OPERATION, PARTS, STAGE_WIDTH = range(4)
"""Columns of a stage."""
FUNCTION, LENGTH, DETAILS = range(3)
"""Columns of an operation: an address; how many rows, 0 if it is not divided; then its whole numbers."""
OPERATIONS, OPERATION_BYTES, NUMBERS, NUMBERS_BYTES, SLOTS, STAGES, COUNT, MEMBERS, PROGRAM_WIDTH = range(9)
"""Elements of a program: addresses, the bytes of one row of both tables, and two counts."""

# What threads share. Integers that are written often have a cache line each.
LINE = 8
OPEN, HELPING, ENDED, PROGRAM, TAKEN = range(0, 5 * LINE, LINE)


def control_size(stages: int, threads: int) -> int:
    """Return the size of the integers that threads share, for programs of so many stages."""
    return TAKEN + stages * threads * LINE
