"""The operations of compiled steps, each declared once: its arrays and numbers, and what threads divide.

    "images: uint8 n ..., indices: int32 batch -> x: batch ...; scale, offset"

names the arrays that an operation reads and those that it writes, with their axes, as `xpnet.nn.declaration`
does; then its floating-point numbers, and behind another ``;`` its whole ones. An array without a dtype has
that of all floating-point arrays of the step. `lowering` gives an operation its arrays and numbers by these
names, and its kernel takes them by the same ones: a wrong name is refused on either side. The operation of
a function of `nn` needs no line here, because the function's own declaration says all of this.

This module does not import Numba: a start that finds all machine code on disk does without it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from xpnet import nn
from xpnet.nn.declaration import FURTHER, lengths_of
from xpnet.nn.random import drop_below

Array = Any


@dataclasses.dataclass(frozen=True)
class Operand:
    """An array of an operation.

    Attributes
    ----------
    dtype : str
        Empty for that of all floating-point arrays.
    axes : tuple of str
        ``("*",)`` for any shape; ``"..."`` for any further axes, which an operation takes as one.
    access : {"r", "w", "u"}
        Whether it is read, written, or both.
    """

    dtype: str
    axes: tuple[str, ...]
    access: str


@dataclasses.dataclass(frozen=True)
class Signature:
    """What an operation takes.

    Attributes
    ----------
    name : str
    operands : dict of str to Operand
    numbers, counts : tuple of str
        Floating-point and whole ones.
    rows : str or None
        The axis that threads divide, ``"*"`` for the first one of any shape; None if one thread does all.
    kernel : str
        The operation whose kernel this one shares.
    convert : callable or None
        Takes the numbers of the function of `nn` by name, and returns those of the operation in order; None
        if they are the same.
    """

    name: str
    operands: Mapping[str, Operand]
    numbers: tuple[str, ...]
    rows: str | None
    kernel: str
    convert: Callable[..., tuple[float, ...]] | None = None
    counts: tuple[str, ...] = ()

    @functools.cached_property
    def axes(self) -> tuple[str, ...]:
        """The axes, in the order in which a kernel finds their lengths."""
        return tuple(sorted({axis for operand in self.operands.values() for axis in operand.axes}))

    @functools.cached_property
    def access(self) -> str:
        """A letter for each operand; lower case if each row of the result needs only its own row of it."""
        return "".join(
            o.access if o.axes[:1] == (self.rows,) else o.access.upper() for o in self.operands.values()
        )

    def check(self, names: Collection[str], user: str) -> None:
        """Raise a `TypeError` unless these are the names of the operands and the numbers."""
        expected = *self.operands, *self.numbers, *self.counts
        if sorted(names) != sorted(expected):
            raise TypeError(
                f"the operation {self.name!r} takes {', '.join(expected)}, but {user} {', '.join(names)}"
            )

    def values(self, **numbers: Any) -> tuple[float, ...]:
        """Return the numbers of the operation, in order, given those of the function of `nn`."""
        if self.convert:
            return self.convert(**numbers)
        self.check((*self.operands, *numbers, *self.counts), "it is given")
        return tuple(numbers[name] for name in self.numbers)

    def divide(self, arrays: Mapping[str, Array], dtype: Any) -> tuple[int, tuple[int, ...]]:
        """Return how many rows threads divide, 0 if they do not, and the lengths of the axes.

        Parameters
        ----------
        arrays : dict
            The operands; only their shapes and dtypes are used.
        dtype : NumPy dtype
            Of all floating-point arrays.

        Raises
        ------
        TypeError
            If an operand has another dtype, or does not fit the axes.
        """
        lengths: dict[str, Any] = {}
        for name, operand in self.operands.items():
            x, expected = arrays[name], operand.dtype or dtype
            own = lengths_of(operand.axes, x.shape)
            if (
                x.dtype != expected
                or own is None
                or any(lengths.setdefault(axis, length) != length for axis, length in own)
            ):
                raise TypeError(
                    f"`{name}` of the operation {self.name!r} is {expected} with axes {operand.axes}, "
                    f"got {x.dtype} with shape {x.shape}"
                )
        if FURTHER in lengths:
            lengths[FURTHER] = math.prod(lengths[FURTHER])
        length = lengths.get(self.rows or "", 0)
        if "*" in lengths:
            shape = lengths["*"]
            # What has one axis, such as a bias, is one row.
            length = shape[0] if self.rows == "*" and len(shape) > 1 else 0
            lengths["*"] = math.prod(shape) // (length or 1)
        return length, tuple(lengths[axis] for axis in self.axes)


def signature(name: str) -> Signature:
    """Return what an operation takes: one of those below, or that of a function of `nn`."""
    return _DECLARED.get(name) or _of_function(nn.FUNCTIONS[name])


def _of_function(function: nn.Function) -> Signature:
    new = {key: form for key, form in function.results.items() if key not in function.changed}
    operands = {
        key: Operand(
            "int32" if form.kind == "int" else "",
            ("*",) if form.axes is None else form.axes,
            "w" if key in new else "u" if form.changed else "r",
        )
        for key, form in (*function.arrays.items(), *new.items())
    }
    firsts = {"".join(operands[key].axes[:1]) for key in function.results}
    rows = firsts.pop() if len(firsts) == 1 and not function.mixes_rows else ""
    numbers, convert = _NUMBERS.get(function.name, ((*function.varying, *function.numbers), None))
    return Signature(function.name, operands, numbers, rows or None, function.name, convert)


def _declare(name: str, declaration: str, *, rows: str | None = None, kernel: str = "") -> Signature:
    arrays, numbers, counts = (*declaration.split("; "), "", "")[:3]
    read, _, written = arrays.partition(" -> ")
    operands = dict(
        _operand(text, access) for access, side in (("r", read), ("w", written)) for text in side.split(", ")
    )
    _, convert = _NUMBERS.get(name, ((), None))
    return Signature(name, operands, _names(numbers), rows, kernel or name, convert, _names(counts))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def _operand(text: str, access: str) -> tuple[str, Operand]:
    name, _, form = text.partition(": ")
    axes = form.removesuffix("()").split()
    dtype = axes.pop(0) if axes and axes[0][-1].isdigit() else ""
    return name, Operand(dtype, tuple(axes), access)


def _sgd(lr: float, weight_decay: float) -> tuple[float, ...]:
    return lr, 1 - lr * weight_decay


def _moving_average(lr: float, beta: float, weight_decay: float) -> tuple[float, ...]:
    return lr, beta, 1 - beta, 1 - lr * weight_decay


def _sgd_momentum(lr: float, momentum: float, share: float, weight_decay: float) -> tuple[float, ...]:
    return lr, momentum, share, 1 - lr * weight_decay


def _sgd_nesterov(lr: float, momentum: float, weight_decay: float) -> tuple[float, ...]:
    return lr, momentum, 1 - lr * weight_decay


def _rmsprop(lr: float, alpha: float, eps: float, weight_decay: float) -> tuple[float, ...]:
    return lr, alpha, 1 - alpha, eps, 1 - lr * weight_decay


def _adam(step: int, lr: float, beta1: float, beta2: float, eps: float) -> tuple[float, ...]:
    unbias1, unbias2 = 1 / (1 - beta1**step), 1 / (1 - beta2**step)
    return lr * unbias1, beta1, 1 - beta1, beta2, 1 - beta2, unbias2, eps


def _adamw(lr: float, weight_decay: float, **others: Any) -> tuple[float, ...]:
    return *_adam(lr=lr, **others), 1 - lr * weight_decay


def _drawing(key: int, step: int, *others: int) -> tuple[int, ...]:
    """Return words in halves, the lower one first, because a number may be float32."""
    return *_halves(key, key >> 32), step & 0xFFFF, step >> 16 & 0xFFFF, *_halves(*others)


@functools.lru_cache(1024)
def _halves(*words: int) -> tuple[int, ...]:
    # Kept, because they are asked for at every step.
    return tuple(half & 0xFFFF for word in words for half in (int(word), int(word) >> 16))


def _dropout(key: int, step: int, rate: float, first: int) -> tuple[float, ...]:
    words = _drawing(key, step, _dropped_below(rate), first // 4)
    return *words, first % 4, 1 / (1 - rate)


_dropped_below = functools.lru_cache(1024)(drop_below)


def _shift(key: int, step: int, most: int, first: int) -> tuple[float, ...]:
    return _drawing(key, step, 2 * most + 1, first)


def _flip(key: int, step: int, first: int) -> tuple[float, ...]:
    return _drawing(key, step, first)


_DRAWING = "key0", "key1", "key2", "key3", "step0", "step1"
_DROPOUT = *_DRAWING, "below0", "below1", "block0", "block1", "before", "factor"
_SHIFT = *_DRAWING, "choices0", "choices1", "first0", "first1"
_FLIP = *_DRAWING, "first0", "first1"
_ADAM = "lr", "old1", "new1", "old2", "new2", "unbias2", "eps"
# What does not depend on an element is computed once, with the precision of Python's numbers.
_NUMBERS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[float, ...]]]] = {
    "sgd_step": (("lr", "kept"), _sgd),
    "momentum_step": (("lr", "old", "new", "kept"), _moving_average),
    "nesterov_step": (("lr", "old", "new", "kept"), _moving_average),
    "sgd_momentum_step": (("lr", "momentum", "share", "kept"), _sgd_momentum),
    "sgd_nesterov_step": (("lr", "momentum", "kept"), _sgd_nesterov),
    "rmsprop_step": (("lr", "old", "new", "eps", "kept"), _rmsprop),
    "adam_step": (_ADAM, _adam),
    "adamw_step": ((*_ADAM, "kept"), _adamw),
    "moving_average": (("old", "new"), lambda momentum: (1 - momentum, momentum)),
    "dropout": (_DROPOUT, _dropout),
    "dropout_backward": (_DROPOUT, _dropout),
    "dropout_keeping": (_DROPOUT, _dropout),
    "random_shift": (_SHIFT, _shift),
    "random_shift_backward": (_SHIFT, _shift),
    "random_flip": (_FLIP, _flip),
    "random_flip_backward": (_FLIP, _flip),
}

_GATHER = "indices: int32 batch -> x: batch ...; scale, offset"
_PLACES = "top, left, stride_height, stride_width"
_WINDOWS = f"size_height, size_width, {_PLACES}"
_IN, _OUT = "batch height width channels", "batch out_height out_width channels"
_GAPS = "stride_height, stride_width, dilation_height, dilation_width"
_STEPS = f"{_GAPS}, groups"
_ROWS, _SUMS = "batch ... channels", "partials: batch channels"
_SCALING = "scale: channels, shift: channels"
_SLOPES = "factor: channels, level: channels, slope: channels"
_MULTIPLY = "right: inner columns, bias: bias -> out: rows columns; transposed"
_DECLARED = {
    operation.name: operation
    for operation in (
        _declare("gather", f"images: uint8 n ..., {_GATHER}", rows="batch"),
        _declare("gather_floats", f"images: n ..., {_GATHER}", rows="batch"),
        _declare("one_hot", "labels: int32 batch -> targets: batch classes", rows="batch"),
        # Dropout with its mask, which the gradient takes again instead of drawing it anew.
        _declare("dropout_keeping", f"x: * -> y: *, mask: *; {', '.join(_DROPOUT)}", rows="*"),
        _declare("keep", "dy: *, mask: * -> dx: *", rows="*"),
        # A bias of length 0 is none.
        _declare("multiply", f"left: rows inner, {_MULTIPLY}", rows="rows"),
        _declare("multiply_transposed", f"left: inner rows, {_MULTIPLY}", rows="rows", kernel="multiply"),
        _declare("transpose", "x: columns rows -> out: rows columns", rows="rows"),
        _declare("add_rows", "x: rows columns -> total: columns"),
        # Images that are mostly zero are compressed, see `kernels.products`.
        _declare(
            "multiply_sparse",
            "starts: int64 starts, entries: uint32 entries, indices: int32 batch, weight: pixels columns"
            " -> partials: blocks batch columns, lists: uint32 lists, counts: int64 pixels; scale",
            rows="blocks",
        ),
        _declare("add_offset", "weight: pixels columns, bias: columns -> folded: columns; offset"),
        _declare(
            "add_partials", "partials: blocks batch columns, bias: columns -> y: batch columns", rows="batch"
        ),
        _declare(
            "differentiate_sparse",
            "lists: uint32 lists, counts: int64 pixels, dy: batch columns"
            " -> d_weight: pixels columns; scale, offset",
            rows="pixels",
        ),
        _declare(
            "softmax_cross_entropy",
            "logits: batch classes, labels: int32 batch"
            " -> d_logits: batch classes, losses: float64 batch; scale",
            rows="batch",
        ),
        _declare("mean", "losses: float64 batch -> loss: ()"),
        # Images with zeros around them and between their pixels, or less of them.
        _declare("pad", f"x: {_IN} -> padded: {_OUT}; ; {_PLACES}", rows="batch"),
        _declare(
            "convolve",
            f"x: {_IN}, weight: kernel_height kernel_width group_channels n_out, bias: bias"
            f" -> y: batch out_height out_width n_out; ; {_STEPS}",
            rows="batch",
        ),
        _declare(
            "differentiate_convolution",
            f"x: {_IN}, dy: batch out_height out_width n_out"
            f" -> d_weight: taps n_out; ; kernel_width, {_STEPS}",
            rows="taps",
        ),
        # Turned around, with inputs and outputs in each other's place, as the gradient at the input needs.
        _declare(
            "turn",
            "weight: kernel_height kernel_width group_channels n_out"
            " -> turned: kernel_height kernel_width group_out channels; ; groups",
        ),
        # With the inputs of a run side by side, as that gradient needs if it is made by pixels of `dy`.
        _declare("turn_runs", "weight: runs inner n_out -> turned: runs n_out inner"),
        _declare(
            "convolve_back",
            "dy: batch out_height out_width n_out, turned: runs n_out inner"
            f" -> dx: {_IN}; ; kernel_width, {_GAPS}",
            rows="batch",
        ),
        # A weight that makes several pixels at once, and the sum of what that adds to each of its elements.
        _declare(
            "widen",
            "weight: kernel_height kernel_width channels n_out, bias: bias"
            " -> widened: kernel_height wide_width channels wide_out, wide_bias: wide_bias; ; stride_width",
        ),
        _declare(
            "narrow",
            "d_widened: kernel_height wide_width channels wide_out"
            " -> d_weight: kernel_height kernel_width channels n_out; ; stride_width",
        ),
        _declare("add_pixels", "dy: batch ... n_out -> partials: batch n_out", rows="batch"),
        _declare("pool_maximum", f"x: {_IN} -> y: {_OUT}; ; {_WINDOWS}", rows="batch"),
        _declare(
            "pool_maximum_backward",
            f"x: {_IN}, y: {_OUT}, dy: {_OUT} -> dx: {_IN}; ; {_WINDOWS}",
            rows="batch",
        ),
        _declare("pool_mean", f"x: {_IN} -> y: {_OUT}; ; {_WINDOWS}", rows="batch"),
        _declare("pool_mean_backward", f"dy: {_OUT} -> dx: {_IN}; ; {_WINDOWS}", rows="batch"),
        _declare("normalise_rows", f"x: {_ROWS}, {_SCALING} -> y: {_ROWS}; eps", rows="batch"),
        _declare(
            "differentiate_normal_rows",
            f"x: {_ROWS}, scale: channels, dy: {_ROWS} -> dx: {_ROWS}, products: {_ROWS}; eps",
            rows="batch",
        ),
        _declare(
            "standardize_rows",
            f"x: {_ROWS}, mean: channels, deviation: channels -> y: {_ROWS}",
            rows="batch",
        ),
        _declare("average_rows", "partials: batch channels -> average: channels; n"),
        _declare("count_rows", "partials: batch channels -> sums: entries; n"),
        _declare("find_mean", "sums: entries -> mean: channels"),
        _declare(
            "find_variances",
            "squares: channels, sums: entries -> variance: channels, unbiased: channels",
        ),
        _declare(
            "find_scale_slopes",
            "partials: batch channels, variance: channels, d_shift: channels"
            " -> d_scale: channels, slopes: pair channels; eps",
        ),
        _declare(
            "find_shared_slopes",
            f"scale: channels, variance: channels, slopes: pair channels, sums: entries -> {_SLOPES}; eps",
        ),
        _declare("add_squares", f"x: {_ROWS}, mean: channels -> {_SUMS}", rows="batch"),
        _declare("add_centred_products", f"x: {_ROWS}, mean: channels, dy: {_ROWS} -> {_SUMS}", rows="batch"),
        _declare("find_factors", "scale: channels, variance: channels -> factor: channels; eps"),
        _declare(
            "normalise_channels",
            f"x: {_ROWS}, mean: channels, factor: channels, shift: channels -> y: {_ROWS}",
            rows="batch",
        ),
        _declare(
            "find_slopes",
            f"{_SUMS}, scale: channels, variance: channels, d_shift: channels"
            f" -> d_scale: channels, {_SLOPES}; eps, n",
        ),
        _declare(
            "differentiate_channels",
            f"x: {_ROWS}, mean: channels, dy: {_ROWS}, {_SLOPES} -> dx: {_ROWS}",
            rows="batch",
        ),
    )
}
