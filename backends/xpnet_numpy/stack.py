"""Steps of an optimizer as one matrix product, where what is new is a linear function of what was there.

That is a single pass by all threads of the BLAS, with no array in between; the portable twins take five.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from xpnet.recording import IN_PLACE, Call, Value

Array = Any
Rows = list[list[float]]


def _sgd_step(lr: float) -> Rows:
    return [[1, -lr]]


def _momentum_step(lr: float, beta: float) -> Rows:
    return [[1, -lr * beta, -lr * (1 - beta)], [0, beta, 1 - beta]]


def _nesterov_step(lr: float, beta: float) -> Rows:
    return [[1, -lr * beta**2, -lr * (1 - beta) * (1 + beta)], [0, beta, 1 - beta]]


# For each function, the matrix that makes what it changes out of that and, in the last column, the gradient.
_RULES: dict[str, Callable[..., Rows]] = {
    "sgd_step": _sgd_step,
    "momentum_step": _momentum_step,
    "nesterov_step": _nesterov_step,
}

# Wider products take up to 1.8 times as long for each column.
_COLUMNS = 2**16


class Stack:
    """Parameters, what an optimizer keeps of each, and gradients, as rows of a matrix.

    What a step changes is there twice, before the row of gradients and behind it, and a step makes one out of
    the other: with momentum, the rows are parameters, velocities, gradients, parameters, velocities.

    Parameters
    ----------
    calls : sequence of Call
        Steps that `suits` says can be taken together.
    values : list
        The arrays of a program, by number. Those of the stack are put there, as views of its rows.

    Attributes
    ----------
    changed : set of int
        The numbers of the arrays that a step changes.
    gradients : list of int
    """

    def __init__(self, calls: Sequence[Call], values: list[Any]) -> None:
        name = calls[0].name
        self._rows = [[call.arguments[key] for call in calls] for key in IN_PLACE[name]]
        self.gradients = [call.arguments["grad"] for call in calls]
        self._rule = _RULES[name](**calls[0].numbers)
        self._values = values
        self._order = [number for row in self._rows for number in row]
        self.changed = set(self._order)

    @staticmethod
    def suits(calls: Sequence[Call], values: Sequence[Value], once: set[int], written: set[int]) -> bool:
        """Return whether calls of one function can be one product.

        Parameters
        ----------
        calls : sequence of Call
        values : sequence of Value
            Those that the calls know by number.
        once : set of int
            Arguments of the step that a single call changes.
        written : set of int
            What is written where the program wants it.
        """
        arrays = [number for call in calls for number in call.references]
        return (
            calls[0].name in _RULES
            and all(call.numbers == calls[0].numbers for call in calls)
            and len(set(arrays)) == len(arrays)
            and len({values[number].array.dtype for number in arrays}) == 1
            and once.issuperset(number for call in calls for number in call.changed)
            and written.issuperset(call.arguments["grad"] for call in calls)
        )

    def load(self) -> None:
        """Copy what a step changes into a new matrix, for someone may still hold views of the one before."""
        values, depth = self._values, len(self._rows)
        params = [values[number] for number in self._rows[0]]
        matrix = numpy.empty((2 * depth + 1, sum(p.size for p in params)), params[0].dtype)
        front, back = matrix[:depth], matrix[depth + 1 :]
        before, after = self._views(front, params), self._views(back, params)
        for number, view in before:
            view[...] = values[number]
        for number, view in (*before, *zip(self.gradients, _parts(matrix[depth], params), strict=True)):
            values[number] = view
        rule = numpy.asarray(self._rule, matrix.dtype)
        # In the rows from the gradients on, these come first.
        there = rule, _blocks(matrix[: depth + 1], back), after
        and_back = numpy.roll(rule, 1, axis=1), _blocks(matrix[depth:], front), before
        self._turns = itertools.cycle([there, and_back])

    def _views(self, rows: Array, params: list[Array]) -> list[tuple[int, Array]]:
        parts = (part for row in rows for part in _parts(row, params))
        return [*zip(self._order, parts, strict=True)]

    def step(self) -> None:
        """Take the steps of all calls."""
        rule, blocks, views = next(self._turns)
        for rows, results in blocks:
            numpy.matmul(rule, rows, out=results)
        for number, view in views:
            self._values[number] = view


def _blocks(rows: Array, results: Array) -> list[tuple[Array, Array]]:
    """Return both matrices in blocks of columns."""
    begins = range(0, rows.shape[1], _COLUMNS)
    return [(rows[:, i : i + _COLUMNS], results[:, i : i + _COLUMNS]) for i in begins]


def _parts(row: Array, like: list[Array]) -> Iterator[Array]:
    """Yield views of a row, one after the other, with the shapes of these arrays."""
    end = 0
    for array in like:
        begin, end = end, end + array.size
        yield row[begin:end].reshape(array.shape)
