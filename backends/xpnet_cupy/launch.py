"""What is launched, and on how many threads: the part of a launch that needs neither CuPy nor a device."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy

# A power of two, for the reductions of kernels.cu; 8 such blocks fill a multiprocessor.
THREADS = 256
# 8 blocks on each of the 132 multiprocessors of an H100, and few enough parts for one block to add up.
MAX_BLOCKS = 1024
WARP = 32

# A matrix product has a block of THREADS for each tile of TILE x TILE numbers, and takes DEPTH of the inner
# dimension at a time. Small tiles, because a batch of MNIST has only 8192 hidden numbers for a hundred
# multiprocessors: forward and step of 128 x 784 x 64 take 8.2 and 6.0 us; with tiles of 16, 15.5 and 5.6;
# with a depth of 128, 7.7 and 6.9 (NVIDIA H200).
TILE = 8
DEPTH = 64

OPTIONS = ("-std=c++17", f"-DMAX_THREADS={THREADS}", f"-DTILE={TILE}", f"-DDEPTH={DEPTH}")

_FLOATS = {numpy.dtype("float32"): "float", numpy.dtype("float64"): "double"}
_PIXELS = {numpy.dtype("uint8"): "unsigned char", **_FLOATS}
_INDICES = {numpy.dtype("int32"): "int", numpy.dtype("int64"): "Index"}
_ACTIVATIONS = {None: "Identity", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}

# What a kernel is made for: activations by name, then dtypes. The C++ types are in the order of the keys.
_VARIANTS: dict[str, tuple[dict[Any, str], ...]] = {
    "accumulate": (_FLOATS,),
    "activate": (_ACTIVATIONS, _FLOATS),
    "activate_backward": (_ACTIVATIONS, _FLOATS),
    "adam_step": (_FLOATS,),
    "add_bias": (_ACTIVATIONS, _FLOATS),
    "count": (_FLOATS,),
    "fetch": (_INDICES,),
    "gather_batch": (_PIXELS, _FLOATS, _INDICES),
    "gather_labels": (_INDICES,),
    "linear": (_ACTIVATIONS, _FLOATS),
    "linear_adam_step": (_FLOATS,),
    "linear_backward": (_ACTIVATIONS, _FLOATS),
    "linear_gradient": (_FLOATS,),
    "linear_momentum_step": (_FLOATS,),
    "linear_nesterov_step": (_FLOATS,),
    "linear_sgd_step": (_FLOATS,),
    "log_softmax": (_FLOATS,),
    "log_softmax_backward": (_FLOATS,),
    "momentum_step": (_FLOATS,),
    "nesterov_step": (_FLOATS,),
    "one_hot": (_FLOATS, _INDICES),
    "sgd_step": (_FLOATS,),
    "sigmoid_cross_entropy": (_FLOATS,),
    "softmax": (_FLOATS,),
    "softmax_backward": (_FLOATS,),
    "softmax_cross_entropy": (_FLOATS, _INDICES),
    "squared_error": (_FLOATS,),
}

# The C++ name of every kernel, by its name here and what it is made for.
SYMBOLS: dict[tuple[object, ...], str] = {
    (name, *keys): f"{name}<{', '.join(types[key] for types, key in zip(variants, keys, strict=True))}>"
    for name, variants in _VARIANTS.items()
    for keys in itertools.product(*variants)
}


def symbol(name: str, *keys: object) -> str:
    """Return the C++ name of a kernel for an activation or arrays of dtypes.

    Raises
    ------
    TypeError
        If the kernel is not made for them.
    """
    try:
        return SYMBOLS[name, *keys]
    except KeyError:
        found = " and ".join(map(str, keys))
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


def tiles(rows: int, columns: int) -> int:
    """Return how many tiles, and so blocks, a product of matrices with so many rows and columns has."""
    return -(-rows // TILE) * -(-columns // TILE)
