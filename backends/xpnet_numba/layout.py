"""Where compiled code finds what Python has written: the form of programs in memory.

An operation is called by address, with the addresses of its row of whole numbers (its operands, which are
numbers of slots, and its sizes), of its row of floating-point numbers, and of the slots, which hold the
addresses of arrays; then the rows that it is to make, and a zero of the dtype of all floating-point arrays.
"""

OPERANDS, SIZES, NUMBERS = 7, 6, 7
"""How many of each an operation can have."""
FIRST_OPERATION, END_OPERATION, PARTS, STAGE_WIDTH = range(4)
"""Columns of a stage."""
FUNCTION, LENGTH, DETAILS = range(3)
"""Columns of an operation: an address; how many rows, 0 if it is not divided; then operands and sizes."""
WIDTH = DETAILS + OPERANDS + SIZES
OPERATIONS, NUMBER_ROWS, NUMBERS_WIDTH, SLOTS, STAGES, COUNT, SHARES, PROGRAM_WIDTH = range(8)
"""Elements of a program: addresses, but for the bytes of an operation's numbers, and two counts."""

# What threads share: integers that are written often have a cache line of their own.
LINE = 8
OPEN, HELPING, ENDED, PROGRAM, TAKEN = range(0, 5 * LINE, LINE)


def control_size(stages: int, threads: int) -> int:
    """Return how many integers the threads that share a program need beside it."""
    return TAKEN + stages * threads * LINE


def adam_numbers(step: int, lr: float, beta1: float, beta2: float, eps: float) -> tuple[float, ...]:
    """Return the floating-point numbers of step `step` of Adam."""
    unbias1, unbias2 = 1 / (1 - beta1**step), 1 / (1 - beta2**step)
    return lr * unbias1, beta1, 1 - beta1, beta2, 1 - beta2, unbias2, eps
