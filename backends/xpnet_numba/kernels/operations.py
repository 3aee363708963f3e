"""Operations of compiled steps; each is compiled by itself, when a program first needs it."""

import math
from typing import Any

from xpnet_numba.kernels.compiled import add
from xpnet_numba.kernels.dense import gather_into, row_of
from xpnet_numba.kernels.entries import enter, operation
from xpnet_numba.kernels.losses import cross_entropy_rows, mean_loss
from xpnet_numba.kernels.products import product, sparse_gradient, sparse_product, sum_rows

Array = Any

_ROWS = 8
"""Rows that are transposed at a time: columns of more would evict each other from the cache, if the number of
columns is a power of two."""


@operation
def gather(
    images: Array, indices: Array, x: Array, scale: float, offset: float, first: int, end: int
) -> None:
    """Fill rows of `x`."""
    gather_into(images, indices[first:end], scale, offset, x[first:end])


enter("gather_floats", gather)


@operation
def gather_labels(labels: Array, indices: Array, gathered: Array, first: int, end: int) -> None:
    """Fill elements of `gathered`."""
    for i in range(first, end):
        gathered[i] = labels[row_of(indices[i], labels.size)]


@operation
def one_hot(labels: Array, targets: Array, first: int, end: int) -> None:
    """Fill rows of `targets`; for one class, with the labels themselves."""
    classes = targets.shape[1]
    for i in range(first, end):
        for j in range(classes):
            targets[i, j] = labels[i] if classes == 1 else labels[i] == j


@operation
def multiply(
    left: Array, right: Array, bias: Array, out: Array, transposed: float, first: int, end: int
) -> None:
    """Fill rows of `out` with ``left right + bias``, or with ``left^T right + bias``."""
    inner, columns = right.shape
    row_step, inner_step = (1, out.shape[0]) if transposed else (inner, 1)
    product(out, columns, first, end, left, row_step, inner_step, inner, right, bias)


@operation
def transpose(x: Array, out: Array, first: int, end: int) -> None:
    """Fill rows of `out` with the columns of `x`."""
    begin, rows = 0, out.shape[1]
    if end - first >= _ROWS:
        while begin + _ROWS <= rows:
            for i in range(first, end):
                for j in range(_ROWS):
                    out[i, begin + j] = x[begin + j, i]
            begin += _ROWS
    for i in range(first, end):
        for j in range(begin, rows):
            out[i, j] = x[j, i]


@operation
def add_rows(x: Array, total: Array) -> None:
    """Fill `total` with the sum of the rows of `x`."""
    rows, columns = x.shape
    sum_rows(total, columns, x, rows)


@operation
def multiply_sparse(
    starts: Array,
    entries: Array,
    indices: Array,
    weight: Array,
    partials: Array,
    lists: Array,
    counts: Array,
    scale: float,
    first: int,
    end: int,
) -> None:
    """Fill `partials`, `lists` and `counts` of blocks of pixels: see `products.sparse_product`."""
    blocks, _, columns = partials.shape
    room = lists.size // counts.size
    for b in range(first, end):
        sparse_product(
            partials[b], columns, starts, entries, indices, b, blocks, weight, scale, lists, room, counts
        )


@operation
def differentiate_sparse(
    lists: Array,
    counts: Array,
    dy: Array,
    d_weight: Array,
    scale: float,
    offset: float,
    first: int,
    end: int,
) -> None:
    """Fill rows of `d_weight`: see `products.sparse_gradient`."""
    batch, columns = dy.shape
    room = lists.size // counts.size
    sparse_gradient(d_weight, columns, first, end, lists, room, counts, dy, batch, scale, offset)


@operation
def softmax_cross_entropy(
    logits: Array, labels: Array, d_logits: Array, losses: Array, scale: float, first: int, end: int
) -> None:
    """Fill rows of `d_logits` and elements of `losses`."""
    cross_entropy_rows(logits, labels, first, end, scale, d_logits, losses)


@operation
def mean(losses: Array, loss: Array) -> None:
    """Fill `loss` with the mean of `losses`."""
    loss[0] = mean_loss(losses)


@operation
def accumulate(total: Array, value: Array, sum: Array, weight: float) -> None:
    """Fill `sum` with ``total + weight * value``."""
    sum[0] = total[0] + weight * value[0]


@operation
def sum_of_squares(grad: Array, total: Array) -> None:
    """Fill `total` with the sum of the squares of `grad`."""
    squares = grad.dtype.type(0)
    for i in range(grad.size):
        squares = add(squares, grad[i] * grad[i])
    total[0] = squares


@operation
def clip_by_norm(grad: Array, squares: Array, clipped: Array, limit: float) -> None:
    """Fill `clipped` with `grad`, scaled if the norm is above `limit`."""
    factor = limit / (math.sqrt(squares[0]) + grad.dtype.type(1e-6))
    if factor > 1:
        factor = grad.dtype.type(1)
    for i in range(grad.size):
        clipped[i] = grad[i] * factor


@operation
def scaled(x: Array, factor: Array, y: Array) -> None:
    """Fill `y` with ``x * factor``."""
    for i in range(x.size):
        y[i] = x[i] * factor[0]
