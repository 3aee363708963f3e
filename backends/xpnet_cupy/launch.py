"""How many blocks and threads a kernel is launched on; this needs neither CuPy nor a device."""

from __future__ import annotations

import math

# A power of two, for the reductions of kernels.cu; 8 such blocks fill a multiprocessor.
THREADS = 256
# 8 blocks on each of the 132 multiprocessors of an H100, and few enough partial sums for one block to add up.
MAX_BLOCKS = 1024
WARP = 32

# How many numbers of an array a thread of a loss has at once. Counted, not measured: 10 classes are two
# threads a row, so a batch of 128 is one block, which waits for memory once and for no other block.
AT_ONCE = 8
# So many weights each block of a loss adds up itself, in the time of a few loads; a kernel adds up more.
FEW_WEIGHTS = 2**14

# A matrix product has a block of THREADS for each tile of TILE x TILE numbers, and takes DEPTH of the inner
# dimension at a time. Small tiles, because a batch of MNIST has only 8192 hidden numbers for a hundred
# multiprocessors: forward and step of 128 x 784 x 64 take 8.2 and 6.0 us; with tiles of 16, 15.5 and 5.6;
# with a depth of 128, 7.7 and 6.9 (NVIDIA H200).
TILE = 8
DEPTH = 64

# In a layer of at least so many inputs, the threads of a block divide these, and load AHEAD of their pieces
# at once. Counted, not measured: 128 x 784 x 64 waits for memory twice, not 13 times, and needs no shared
# memory until the end; but to add up what the threads have costs as much as 200 inputs.
MANY_INPUTS = 512
AHEAD = 4

# A convolution has a block of THREADS for each tile of PIXELS x OUTPUTS numbers, and takes TAPS of the inner
# dimension at a time; the gradient of its weight has tiles of ROWS x OUTPUTS. Counted, not measured: the
# convolutions of LeNet-5 have 6 and 16 outputs, so part of wider tiles would be empty; with batch 128 they
# have 784 and 200 such tiles for a hundred multiprocessors.
PIXELS = 128
OUTPUTS = 8
TAPS = 16
ROWS = THREADS // OUTPUTS

_DEFINED = {
    "MAX_THREADS": THREADS,
    "WARP": WARP,
    "AT_ONCE": AT_ONCE,
    "TILE": TILE,
    "DEPTH": DEPTH,
    "AHEAD": AHEAD,
    "PIXELS": PIXELS,
    "OUTPUTS": OUTPUTS,
    "TAPS": TAPS,
    "ROWS": ROWS,
}
OPTIONS = ("-std=c++17", *(f"-D{name}={number}" for name, number in _DEFINED.items()))


def blocks(n: int) -> int:
    """Return how many blocks of `THREADS` threads work on `n` numbers; none for none."""
    return min(-(-n // THREADS), MAX_BLOCKS)


def shares(n: int) -> int:
    """Return how many blocks of `THREADS` threads, of `AT_ONCE` numbers at once each, work on `n` numbers."""
    return min(-(-n // (THREADS * AT_ONCE)), MAX_BLOCKS)


def lanes(width: int) -> int:
    """Return how many threads work on a row of a loss: a power of two in a warp, or a block for wide rows."""
    fitting = 1 << (-(-max(width, 1) // AT_ONCE) - 1).bit_length()
    return fitting if fitting <= WARP else THREADS


def teams(rows: int, lanes: int) -> tuple[int, int]:
    """Return how many blocks, of how many threads, work on rows that have so many threads each."""
    size = threads(max(rows, 1) * lanes)
    return min(-(-rows * lanes // size), MAX_BLOCKS), size


def rows(shape: tuple[int, ...]) -> int:
    """Return how many rows, and so blocks, an array of this shape has along its last axis."""
    return math.prod(shape[:-1])


def threads(width: int) -> int:
    """Return how many threads work on a row of `width` numbers: a power of two, at least a warp."""
    return min(max(1 << (width - 1).bit_length(), WARP), THREADS)


def tiles(rows: int, columns: int) -> int:
    """Return how many tiles, and so blocks, the product of two matrices has."""
    return -(-rows // TILE) * -(-columns // TILE)


def parts(n: int, tiles: int) -> tuple[int, int]:
    """Return into how many parts a sum over `n` rows is divided, and how many rows each has.

    Enough for a few blocks on each multiprocessor, if there are `tiles` of them for each part; but a part has
    at least `THREADS` rows, unless it is the last.
    """
    most = max(1, MAX_BLOCKS // 2 // max(tiles, 1))
    share = max(THREADS, -(-n // most))
    return -(-n // share), share
