"""The rules for normalisation: see `lowering`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from xpnet.replay.lower import Lowering, Rule
from xpnet.replay.trace import Call, Value


class NormRules:
    """What becomes of calls that normalise.

    Parameters
    ----------
    add : callable
        Adds an operation: see `lowering.Rules.add`.
    value : callable
        Returns a new value of a shape.

    Attributes
    ----------
    table : dict
        The rules, by the names of functions.
    """

    def __init__(self, add: Callable[..., Any], value: Callable[..., Value]) -> None:
        self._add, self._value = add, value
        # Mean and variance of arrays that nothing changes: the gradient reads those of the function.
        self._statistics: dict[Value, tuple[Value, Value]] = {}
        self.table: dict[str, Rule] = {
            "layer_norm": self._normalise_rows,
            "layer_norm_backward": self._differentiate_rows,
            "batch_norm": self._normalise,
            "batch_norm_training": self._normalise_batch,
            "batch_norm_training_backward": self._differentiate_batch,
            "standardize": self._standardize,
            "batch_sums": self._count,
            "batch_squares": self._square,
            "batch_variances": self._find_variances,
            "batch_norm_slopes": self._find_slopes,
            "batch_norm_shared_backward": self._differentiate_shared,
        }

    def _normalise_rows(self, lowering: Lowering, call: Call) -> bool:
        (y,) = call.results
        self._add(lowering, call, "normalise_rows", call.numbers, **call.arrays, y=y)
        return True

    def _differentiate_rows(self, lowering: Lowering, call: Call) -> bool:
        (x, _, dy), (dx, d_scale, d_shift) = call.arrays.values(), call.results
        products = self._value(x.shape)
        arrays = {**call.arrays, "dx": dx, "products": products}
        self._add(lowering, call, "differentiate_normal_rows", call.numbers, **arrays)
        for terms, total in ((products, d_scale), (dy, d_shift)):
            self._add(lowering, call, "add_rows", {}, x=self._sums(lowering, call, terms), total=total)
        return True

    def _standardize(self, lowering: Lowering, call: Call) -> bool:
        (y,) = call.results
        self._add(lowering, call, "standardize_rows", {}, **call.arrays, y=y)
        return True

    def _normalise(self, lowering: Lowering, call: Call) -> bool:
        (y,) = call.results
        self._scale(lowering, call, **call.arrays, y=y)
        return True

    def _scale(self, lowering: Lowering, call: Call, *, scale: Value, variance: Value, **others: Any) -> None:
        add, factor = functools.partial(self._add, lowering, call), self._value(scale.shape)
        add("find_factors", {"eps": call.numbers["eps"]}, scale=scale, variance=variance, factor=factor)
        add("normalise_channels", {}, factor=factor, **others)

    def _normalise_batch(self, lowering: Lowering, call: Call) -> bool:
        add, (y, mean, variance) = functools.partial(self._add, lowering, call), call.results
        x, scale, shift = call.arrays.values()
        n, sums = _rows(x), self._sums(lowering, call, x)
        add("average_rows", {"n": n}, partials=sums, average=mean)
        own_mean, squares = self._measure(lowering, call, x, sums)
        own_variance = self._value(scale.shape)
        add("average_rows", {"n": n}, partials=squares, average=own_variance)
        add("average_rows", {"n": max(n - 1, 1)}, partials=squares, average=variance)
        if x not in lowering.trace.changed:
            self._statistics[x] = own_mean, own_variance
        self._scale(lowering, call, x=x, scale=scale, shift=shift, mean=own_mean, variance=own_variance, y=y)
        return True

    def _measure(self, lowering: Lowering, call: Call, x: Value, sums: Value) -> tuple[Value, Value]:
        """Return the mean of each channel, and partial sums of the squares of what differs from it."""
        mean, squares = self._value(sums.shape[1:]), self._value(sums.shape)
        self._add(lowering, call, "average_rows", {"n": _rows(x)}, partials=sums, average=mean)
        self._add(lowering, call, "add_squares", {}, x=x, mean=mean, partials=squares)
        return mean, squares

    def _statistics_of(self, lowering: Lowering, call: Call, x: Value) -> tuple[Value, Value]:
        if x in self._statistics:
            return self._statistics[x]
        mean, squares = self._measure(lowering, call, x, self._sums(lowering, call, x))
        variance = self._value(mean.shape)
        self._add(lowering, call, "average_rows", {"n": _rows(x)}, partials=squares, average=variance)
        return mean, variance

    def _differentiate_batch(self, lowering: Lowering, call: Call) -> bool:
        add, (dx, d_scale, d_shift) = functools.partial(self._add, lowering, call), call.results
        x, scale, dy = call.arrays.values()
        mean, variance = self._statistics_of(lowering, call, x)
        products = self._value((x.shape[0], x.shape[-1]))
        add("add_centred_products", {}, x=x, mean=mean, dy=dy, partials=products)
        add("add_rows", {}, x=self._sums(lowering, call, dy), total=d_shift)
        made = {name: self._value(scale.shape) for name in ("factor", "level", "slope")}
        numbers = {"eps": call.numbers["eps"], "n": _rows(x)}
        given = {"partials": products, "scale": scale, "variance": variance, "d_shift": d_shift}
        add("find_slopes", numbers, **given, d_scale=d_scale, **made)
        add("differentiate_channels", {}, x=x, mean=mean, dy=dy, **made, dx=dx)
        return True

    def _count(self, lowering: Lowering, call: Call) -> bool:
        (x,), (sums,) = call.arrays.values(), call.results
        partials = self._sums(lowering, call, x)
        self._add(lowering, call, "count_rows", {"n": _rows(x)}, partials=partials, sums=sums)
        return True

    def _square(self, lowering: Lowering, call: Call) -> bool:
        (x, sums), (mean, squares) = call.arrays.values(), call.results
        partials = self._value((x.shape[0], x.shape[-1]))
        self._add(lowering, call, "find_mean", {}, sums=sums, mean=mean)
        self._add(lowering, call, "add_squares", {}, x=x, mean=mean, partials=partials)
        self._add(lowering, call, "add_rows", {}, x=partials, total=squares)
        return True

    def _find_variances(self, lowering: Lowering, call: Call) -> bool:
        variance, unbiased = call.results
        made = {"variance": variance, "unbiased": unbiased}
        self._add(lowering, call, "find_variances", {}, **call.arrays, **made)
        return True

    def _find_slopes(self, lowering: Lowering, call: Call) -> bool:
        add, (d_scale, d_shift, slopes) = functools.partial(self._add, lowering, call), call.results
        x, mean, variance, dy = call.arrays.values()
        products = self._value((x.shape[0], x.shape[-1]))
        add("add_centred_products", {}, x=x, mean=mean, dy=dy, partials=products)
        add("add_rows", {}, x=self._sums(lowering, call, dy), total=d_shift)
        given = {"partials": products, "variance": variance, "d_shift": d_shift}
        add("find_scale_slopes", call.numbers, **given, d_scale=d_scale, slopes=slopes)
        return True

    def _differentiate_shared(self, lowering: Lowering, call: Call) -> bool:
        add, (dx,) = functools.partial(self._add, lowering, call), call.results
        arrays = dict(call.arrays)
        x, mean, dy = (arrays.pop(name) for name in ("x", "mean", "dy"))
        made = {name: self._value(mean.shape) for name in ("factor", "level", "slope")}
        add("find_shared_slopes", call.numbers, **arrays, **made)
        add("differentiate_channels", {}, x=x, mean=mean, dy=dy, **made, dx=dx)
        return True

    def _sums(self, lowering: Lowering, call: Call, x: Value) -> Value:
        """Return the sums over the pixels of each example."""
        partials = self._value((x.shape[0], x.shape[-1]))
        self._add(lowering, call, "add_pixels", {}, dy=x, partials=partials)
        return partials


def _rows(x: Value) -> int:
    return math.prod(x.shape[:-1])
