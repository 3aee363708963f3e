"""What programs are made of: each operation fills rows `first` to `end` of what it makes.

So each is compiled by itself, when a program first has it; `layout` tells what it is called with. One that is
not divided has the one row 0.
"""

from typing import Any

import numpy

from xpnet_numba.kernels.activations import (
    relu_backward_into,
    relu_into,
    sigmoid_backward_into,
    sigmoid_into,
    tanh_backward_into,
)
from xpnet_numba.kernels.compiled import entry, part
from xpnet_numba.kernels.dense import gather_into, row_of
from xpnet_numba.kernels.losses import cross_entropy_rows, mean_loss
from xpnet_numba.kernels.memory import get, view
from xpnet_numba.kernels.products import (
    fold_offset,
    product,
    sparse_gradient,
    sparse_product,
    sum_rows,
    sum_shares,
)
from xpnet_numba.kernels.steps import adam_in_place, momentum_in_place, nesterov_in_place, sgd_in_place
from xpnet_numba.layout import NUMBERS, OPERANDS

Array = Any

_LABEL, _WORD, _COUNT, _PIXEL = numpy.int32(0), numpy.uint32(0), numpy.int64(0), numpy.uint8(0)


@part
def _array(row: int, slots: int, operand: int, shape: Any, number: Any) -> Array:
    """Return an operand as an array of numbers like `number`."""
    return view(get(view(slots, 1, 0), get(view(row, 1, 0), operand)), shape, number)


@part
def _rows(row: int, slots: int, operand: int, first: int, end: int, zero: Any) -> Array:
    """Return rows `first` to `end` of a matrix as a flat array; the first size is its number of columns."""
    columns = _size(row, 0)
    return _array(row, slots, operand, end * columns, zero)[first * columns :]


@part
def _size(row: int, i: int) -> int:
    return get(view(row, 1, 0), OPERANDS + i)


@part
def _number(numbers: int, i: int, zero: Any) -> Any:
    return get(view(numbers, 1, zero), i)


@entry
def gather(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: images, indices, batch. Sizes: pixels, images. Numbers: scale, offset."""
    pixels = _size(row, 0)
    images = _array(row, slots, 0, (_size(row, 1), pixels), _PIXEL)
    indices, out = _array(row, slots, 1, end, _LABEL), _array(row, slots, 2, (end, pixels), zero)
    scale, offset = _number(numbers, 0, zero), _number(numbers, 1, zero)
    gather_into(images, indices[first:], scale, offset, out[first:])


@entry
def gather_floats(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """See `gather`; the images are of the dtype of the batch."""
    shape = _size(row, 1), _size(row, 0)
    images, indices = _array(row, slots, 0, shape, zero), _array(row, slots, 1, end, _LABEL)
    scale, offset = _number(numbers, 0, zero), _number(numbers, 1, zero)
    gather_into(images, indices[first:], scale, offset, _array(row, slots, 2, (end, shape[1]), zero)[first:])


@entry
def gather_labels(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: labels, indices, batch of labels. Sizes: labels."""
    n, out = _size(row, 0), _array(row, slots, 2, end, _LABEL)
    labels, indices = _array(row, slots, 0, n, _LABEL), _array(row, slots, 1, end, _LABEL)
    for i in range(first, end):
        out[i] = labels[row_of(indices[i], n)]


@entry
def multiply_sparse(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """See `products.sparse_product`; the rows are blocks.

    Operands: starts, entries, indices, weight, shares, lists, counts. Sizes: columns, batch, room, pixels,
    blocks, images. Numbers: scale.
    """
    columns, batch, blocks = _size(row, 0), _size(row, 1), _size(row, 4)
    starts = _array(row, slots, 0, _size(row, 5) * blocks + 1, _COUNT)
    entries = _array(row, slots, 1, 1, _WORD)
    indices, weight = _array(row, slots, 2, batch, _LABEL), _array(row, slots, 3, 1, zero)
    shares = _array(row, slots, 4, (end, batch * columns), zero)
    lists, counts = _array(row, slots, 5, 1, _WORD), _array(row, slots, 6, _size(row, 3), _COUNT)
    room, scale = _size(row, 2), _number(numbers, 0, zero)
    for b in range(first, end):
        sparse_product(
            shares[b], columns, starts, entries, indices, b, blocks, weight, scale, lists, room, counts
        )


@entry
def add_offset(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """See `products.fold_offset`.

    Operands: weight, bias, folded bias. Sizes: columns, pixels. Numbers: offset.
    """
    columns = _size(row, 0)
    weight, bias = _array(row, slots, 0, (_size(row, 1), columns), zero), _array(row, slots, 1, columns, zero)
    fold_offset(weight, bias, _number(numbers, 0, zero), _array(row, slots, 2, columns, zero))


@entry
def add_shares(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """See `products.sum_shares`. Operands: shares, bias, sum. Sizes: columns, batch, blocks."""
    columns = _size(row, 0)
    shares = _array(row, slots, 0, (_size(row, 2), _size(row, 1), columns), zero)
    bias, out = _array(row, slots, 1, columns, zero), _array(row, slots, 2, (end, columns), zero)
    sum_shares(shares, bias, out, first, end)


@entry
def differentiate_sparse(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """See `products.sparse_gradient`.

    Operands: lists, counts, gradient of the output, of the weight. Sizes: columns, batch, room. Numbers:
    scale, offset.
    """
    columns, batch = _size(row, 0), _size(row, 1)
    lists, counts = _array(row, slots, 0, 1, _WORD), _array(row, slots, 1, end, _COUNT)
    dy, out = _array(row, slots, 2, batch * columns, zero), _array(row, slots, 3, end * columns, zero)
    scale, offset = _number(numbers, 0, zero), _number(numbers, 1, zero)
    sparse_gradient(out, columns, first, end, lists, _size(row, 2), counts, dy, batch, scale, offset)


@entry
def multiply(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """See `products.product`.

    Operands: left, right, bias, product. Sizes: columns, inner, steps of the left factor's rows and columns.
    Numbers: 1 with a bias, 0 without.
    """
    columns, inner = _size(row, 0), _size(row, 1)
    left, right = _array(row, slots, 0, 1, zero), _array(row, slots, 1, 1, zero)
    bias = _array(row, slots, 2, columns if _number(numbers, 0, zero) else 0, zero)
    out = _array(row, slots, 3, end * columns, zero)
    product(out, columns, first, end, left, _size(row, 2), _size(row, 3), inner, right, bias)


@entry
def transpose(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: matrix, transposed matrix. Sizes: rows and columns of the former."""
    rows, columns = _size(row, 0), _size(row, 1)
    x, out = _array(row, slots, 0, (rows, columns), zero), _array(row, slots, 1, (columns, rows), zero)
    for i in range(first, end):
        for j in range(rows):
            out[i, j] = x[j, i]


@entry
def add_rows(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: matrix, sum of its rows. Sizes: columns, rows."""
    columns, rows = _size(row, 0), _size(row, 1)
    sum_rows(_array(row, slots, 1, columns, zero), columns, _array(row, slots, 0, rows * columns, zero), rows)


@entry
def add_bias(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: matrix, changed, and bias. Sizes: columns."""
    columns = _size(row, 0)
    x, bias = _array(row, slots, 0, (end, columns), zero), _array(row, slots, 1, columns, zero)
    for i in range(first, end):
        for j in range(columns):
            x[i, j] += bias[j]


@entry
def sigmoid(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: input, output. Sizes: columns."""
    sigmoid_into(_rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero))


@entry
def sigmoid_backward(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: output, its gradient, gradient of the input. Sizes: columns."""
    y, dy = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    sigmoid_backward_into(y, dy, _rows(row, slots, 2, first, end, zero))


@entry
def relu(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: input, output. Sizes: columns."""
    relu_into(_rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero))


@entry
def relu_backward(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: output, its gradient, gradient of the input. Sizes: columns."""
    y, dy = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    relu_backward_into(y, dy, _rows(row, slots, 2, first, end, zero))


@entry
def tanh_backward(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: output, its gradient, gradient of the input. Sizes: columns."""
    y, dy = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    tanh_backward_into(y, dy, _rows(row, slots, 2, first, end, zero))


@entry
def softmax_cross_entropy(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: logits, labels, gradient, losses (float64). Sizes: classes. Numbers: 1 / batch."""
    shape = end, _size(row, 0)
    logits, labels = _array(row, slots, 0, shape, zero), _array(row, slots, 1, end, _LABEL)
    d_logits, losses = _array(row, slots, 2, shape, zero), _array(row, slots, 3, end, 0.0)
    cross_entropy_rows(logits, labels, first, end, _number(numbers, 0, zero), d_logits, losses)


@entry
def mean(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: losses (float64), their mean. Sizes: batch."""
    losses = _array(row, slots, 0, _size(row, 0), 0.0)
    _array(row, slots, 1, 1, zero)[0] = mean_loss(losses)


@entry
def accumulate(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: total, value, new total. Numbers: weight."""
    total, value = _array(row, slots, 0, 1, zero)[0], _array(row, slots, 1, 1, zero)[0]
    _array(row, slots, 2, 1, zero)[0] = total + _number(numbers, 0, zero) * value


@entry
def sgd_step(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: gradient, parameter. Sizes: columns. Numbers: of `steps.sgd_in_place`."""
    grad, param = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    sgd_in_place(grad, param, _number(numbers, 0, zero))


@entry
def momentum_step(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: gradient, parameter, velocity. Sizes: columns. Numbers: of `steps.momentum_in_place`."""
    grad, param = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    lr, old, new = _number(numbers, 0, zero), _number(numbers, 1, zero), _number(numbers, 2, zero)
    momentum_in_place(grad, param, _rows(row, slots, 2, first, end, zero), lr, old, new)


@entry
def nesterov_step(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: gradient, parameter, velocity. Sizes: columns. Numbers: of `steps.nesterov_in_place`."""
    grad, param = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    lr, old, new = _number(numbers, 0, zero), _number(numbers, 1, zero), _number(numbers, 2, zero)
    nesterov_in_place(grad, param, _rows(row, slots, 2, first, end, zero), lr, old, new)


@entry
def adam_step(row: int, numbers: int, slots: int, first: int, end: int, zero: Any) -> None:
    """Operands: gradient, parameter, mean, variance. Sizes: columns. Numbers: of `steps.adam_in_place`."""
    grad, param = _rows(row, slots, 0, first, end, zero), _rows(row, slots, 1, first, end, zero)
    moments = _rows(row, slots, 2, first, end, zero), _rows(row, slots, 3, first, end, zero)
    n = view(numbers, NUMBERS, zero)
    adam_in_place(grad, param, moments[0], moments[1], n[0], n[1], n[2], n[3], n[4], n[5], n[6])
