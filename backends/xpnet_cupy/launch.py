"""What is launched, and on how many threads: the part of a launch that needs neither CuPy nor a device."""

from __future__ import annotations

import math

import numpy

# A power of two, for the reductions of kernels.cu; 8 such blocks fill a multiprocessor.
THREADS = 256
# 8 blocks on each of the 132 multiprocessors of an H100, and few enough parts for one block to add up.
MAX_BLOCKS = 1024
WARP = 32

OPTIONS = ("-std=c++17", f"-DMAX_THREADS={THREADS}")

_FLOATS = {numpy.dtype("float32"): "float", numpy.dtype("float64"): "double"}
_PIXELS = {numpy.dtype("uint8"): "unsigned char", **_FLOATS}

KERNELS = (
    "adam_step",
    "log_softmax",
    "log_softmax_backward",
    "mean",
    "momentum_step",
    "nesterov_step",
    "relu",
    "relu_backward",
    "sgd_step",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "squared_error",
    "tanh_backward",
)

# The C++ name of every kernel, by its name here and the dtypes it is made for.
SYMBOLS: dict[tuple[object, ...], str] = {
    (name, dtype): f"{name}<{c}>" for name in KERNELS for dtype, c in _FLOATS.items()
} | {
    ("gather_batch", pixel, dtype): f"gather_batch<{p}, {c}>"
    for pixel, p in _PIXELS.items()
    for dtype, c in _FLOATS.items()
}


def symbol(name: str, *dtypes: numpy.dtype) -> str:
    """Return the C++ name of a kernel for arrays of `dtypes`.

    Raises
    ------
    TypeError
        If the kernel is not made for them.
    """
    try:
        return SYMBOLS[name, *dtypes]
    except KeyError:
        found = " and ".join(map(str, dtypes))
        choices = ", ".join(sorted(symbol for key, symbol in SYMBOLS.items() if key[0] == name))
        raise TypeError(f"{name!r} has no CUDA kernel for {found}: choose among {choices}") from None


def blocks(n: int) -> int:
    """Return how many blocks of `THREADS` threads work on `n` numbers; none for none."""
    return min(-(-n // THREADS), MAX_BLOCKS)


def rows(shape: tuple[int, ...]) -> int:
    """Return how many rows, and so blocks, an array of this shape has along its last axis."""
    return math.prod(shape[:-1])


def threads(width: int) -> int:
    """Return how many threads work on a row of `width` numbers: a power of two, at least a warp."""
    return min(max(1 << (width - 1).bit_length(), WARP), THREADS)
