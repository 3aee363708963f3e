"""Steps of an optimizer as one matrix product, where what is new is a linear function of what was there.

That is a single pass by all threads of the BLAS, with no array in between; the portable twins take five.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnet.replay.trace import Call, Trace, Value

Array = Any
Rows = list[list[float]]


RULES: dict[str, Callable[..., Rows]] = {}
"""By function: the matrix that makes what it changes of that and, in the last column, the gradient."""


def _rule(function: Callable[..., Rows]) -> Callable[..., Rows]:
    RULES[function.__name__] = function
    return function


@_rule
def sgd_step(lr: float, weight_decay: float) -> Rows:
    """Return the matrix of `xpnet.nn.sgd_step`."""
    return [[1 - lr * weight_decay, -lr]]


@_rule
def momentum_step(lr: float, beta: float, weight_decay: float) -> Rows:
    """Return the matrix of `xpnet.nn.momentum_step`."""
    return [[1 - lr * weight_decay, -lr * beta, -lr * (1 - beta)], [0, beta, 1 - beta]]


@_rule
def nesterov_step(lr: float, beta: float, weight_decay: float) -> Rows:
    """Return the matrix of `xpnet.nn.nesterov_step`."""
    return [
        [1 - lr * weight_decay, -lr * beta**2, -lr * (1 - beta) * (1 + beta)],
        [0, beta, 1 - beta],
    ]


@_rule
def sgd_momentum_step(lr: float, momentum: float, share: float, weight_decay: float) -> Rows:
    """Return the matrix of `xpnet.nn.sgd_momentum_step`."""
    return [[1 - lr * weight_decay, -lr * momentum, -lr * share], [0, momentum, share]]


@_rule
def sgd_nesterov_step(lr: float, momentum: float, weight_decay: float) -> Rows:
    """Return the matrix of `xpnet.nn.sgd_nesterov_step`."""
    return [[1 - lr * weight_decay, -lr * momentum**2, -lr * (1 + momentum)], [0, momentum, 1]]


# Wider products take up to 1.8 times as long for each column.
_COLUMNS = 2**16


class Stack:
    """Parameters, what an optimizer keeps of each, and gradients, as rows of a matrix.

    All of it is there twice, and a step makes the first half out of the second or the second out of the
    first: with momentum, the rows are parameters, velocities, gradients, parameters, velocities, gradients.
    The order is the same in both, so a step does not depend on how many there were before: sums are rounded
    alike.

    Parameters
    ----------
    calls : sequence of Call
        Steps that `suits` says can be taken together.

    Attributes
    ----------
    running : tuple of str
        The names of the numbers that differ from step to step.
    changed : list of array
        What the next step changes: parameters, then what is kept of the first of them, and so on.
    gradients : list of array
        Where the next step finds the gradients.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        first = calls[0]
        self._depth = len(first.changed)
        self.running = (*first.running,)
        fixed = {name: number for name, number in first.numbers.items() if name not in self.running}
        self._rule_of = functools.partial(RULES[first.name], **fixed)
        self.changed: list[Array] = []
        self.gradients: list[Array] = []

    @staticmethod
    def suits(calls: Sequence[Call], trace: Trace) -> bool:
        """Return whether calls of one function can be one product, wherever their gradients are."""
        arrays = [value for call in calls for value in call.arrays.values()]
        changed = {value for call in calls for value in call.changed}
        return (
            all(call.sizes is not None and call.numbers == calls[0].numbers for call in calls)
            and len({*arrays}) == len(arrays)
            and len({value.dtype for value in arrays}) == 1
            and all(value.leaf is not None and _is_changed_once(value, trace) for value in changed)
        )

    def load(self, arrays: Sequence[Array]) -> None:
        """Let these be what the next step changes.

        Others than the stack's own are copied into a new matrix: someone may still hold views of the old one.
        """
        if len(self.changed) == len(arrays) and all(map(operator.is_, self.changed, arrays)):
            return
        depth = self._depth
        params = arrays[: len(arrays) // depth]
        matrix = numpy.empty((2, depth + 1, sum(p.size for p in params)), params[0].dtype)
        front, back = matrix[0, :depth], matrix[1, :depth]
        self.changed, after = _views(front, params), _views(back, params)
        self.gradients, gradients_after = (_views(half[depth:], params) for half in matrix)
        for view, array in zip(self.changed, arrays, strict=True):
            view[...] = array
        # A product would make nan of an infinite parameter times the 0 in the rule of a velocity.
        self._is_finite = bool(numpy.isfinite(front).all())
        self._dtype = matrix.dtype
        there = _blocks(matrix[0], back), after, gradients_after
        and_back = _blocks(matrix[1], front), self.changed, self.gradients
        self._turns = itertools.cycle([there, and_back])
        self._fixed = None if self.running else self._matrix_of(self._rule_of())

    def _matrix_of(self, rule: Rows) -> Array:
        return numpy.asarray(rule, self._dtype)

    def step(self, *numbers: float) -> None:
        """Take the steps of all calls, given the numbers in `running`."""
        blocks, self.changed, self.gradients = next(self._turns)
        rule = self._fixed
        if rule is None:
            rule = self._matrix_of(self._rule_of(**dict(zip(self.running, numbers, strict=True))))
        for rows, results in blocks:
            if self._is_finite:
                numpy.matmul(rule, rows, out=results)
            else:
                for result, factors in zip(results, rule, strict=True):
                    result[...] = sum(f * row for f, row in zip(factors, rows, strict=True) if f)


def _is_changed_once(value: Value, trace: Trace) -> bool:
    return sum(value in call.changed for call, _ in trace.users(value)) == 1


def _views(rows: Array, params: Sequence[Array]) -> list[Array]:
    """Return views of rows that hold arrays with the shapes of parameters, one behind the other."""
    ends = [*itertools.accumulate(p.size for p in params)]
    return [
        row[end - p.size : end].reshape(p.shape) for row in rows for p, end in zip(params, ends, strict=True)
    ]


def _blocks(rows: Array, results: Array) -> list[tuple[Array, Array]]:
    """Return both matrices in blocks of columns."""
    begins = range(0, rows.shape[1], _COLUMNS)
    return [(rows[:, i : i + _COLUMNS], results[:, i : i + _COLUMNS]) for i in begins]
