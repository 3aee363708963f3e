"""How many blocks and threads a kernel is launched on; this needs neither CuPy nor a device."""

from __future__ import annotations

import math

# A power of two, for the reductions of kernels.cu; 8 such blocks fill a multiprocessor.
THREADS = 256
# 8 blocks on each of the 132 multiprocessors of an H100, and few enough partial sums for one block to add up.
MAX_BLOCKS = 1024
WARP = 32

# A matrix product has a block of THREADS for each tile of TILE x TILE numbers, and takes DEPTH of the inner
# dimension at a time. Small tiles, because a batch of MNIST has only 8192 hidden numbers for a hundred
# multiprocessors: forward and step of 128 x 784 x 64 take 8.2 and 6.0 us; with tiles of 16, 15.5 and 5.6;
# with a depth of 128, 7.7 and 6.9 (NVIDIA H200).
TILE = 8
DEPTH = 64

OPTIONS = ("-std=c++17", f"-DMAX_THREADS={THREADS}", f"-DTILE={TILE}", f"-DDEPTH={DEPTH}")


def blocks(n: int) -> int:
    """Return how many blocks of `THREADS` threads work on `n` numbers; none for none."""
    return min(-(-n // THREADS), MAX_BLOCKS)


def rows(shape: tuple[int, ...]) -> int:
    """Return how many rows, and so blocks, an array of this shape has along its last axis."""
    return math.prod(shape[:-1])


def threads(width: int) -> int:
    """Return how many threads work on a row of `width` numbers: a power of two, at least a warp."""
    return min(max(1 << (width - 1).bit_length(), WARP), THREADS)


def tiles(rows: int, columns: int) -> int:
    """Return how many tiles, and so blocks, the product of two matrices has."""
    return -(-rows // TILE) * -(-columns // TILE)
