"""Gradients compared with finite differences, element by element, in float64 on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

# The first suits smooth functions: rounding and curvature both cost about ten digits. With the others, fewer
# kinks, such as those of ReLU, lie between the points.
_STEPS = 1e-5, 1e-6, 1e-7
_NOISE = 64 * float(np.finfo(np.float64).eps)  # rounding of an output, in units of its size, with a margin


@dataclasses.dataclass(frozen=True)
class Element:
    """An element of an array, its gradient, and what finite differences say.

    Attributes
    ----------
    name : str
        Of the array.
    index : tuple of int
    gradient, difference : float
    error : float
        Their difference relative to the larger of both, or to the smallest gradient that rounding lets finite
        differences see.
    """

    name: str
    index: tuple[int, ...]
    gradient: float
    difference: float
    error: float


def worst_element(
    function: Callable[[Arrays], np.ndarray],
    arrays: Arrays,
    name: str,
    gradient: np.ndarray,
    *,
    weights: np.ndarray,
    elements: int,
    random: np.random.Generator,
    tolerance: float,
) -> Element:
    """Return the element of an array with the largest error, among so many drawn at random.

    Parameters
    ----------
    function : callable
        Takes `arrays` and returns an array of outputs.
    arrays : mapping of str to NumPy array, float64
    name : str
        Of the array whose gradient is checked.
    gradient : NumPy array
        Of the sum of outputs times `weights`.
    weights : NumPy array, shape of the outputs
    elements : int
    random : Generator
    tolerance : float
        An error below it is accepted without a closer look.
    """
    size = arrays[name].size
    chosen = random.permutation(size)[:elements]
    indices = [tuple(map(int, np.unravel_index(i, arrays[name].shape))) for i in chosen]
    line = _Line(function, arrays, name, weights, tolerance)
    found = [line.compared(index, float(gradient[index])) for index in indices]
    return max(found, key=lambda element: element.error)


class _Line:
    """A weighted sum of outputs as a function of one element of an array."""

    def __init__(
        self,
        function: Callable[[Arrays], np.ndarray],
        arrays: Arrays,
        name: str,
        weights: np.ndarray,
        tolerance: float,
    ) -> None:
        self._function = function
        self._arrays = arrays
        self._name = name
        self._weights = weights
        self._tolerance = tolerance
        self._middle = function(arrays)

    def compared(self, index: tuple[int, ...], gradient: float) -> Element:
        """Return how a gradient compares with the slope, on one side of a kink if there is one."""
        scale = max(1.0, abs(float(self._arrays[self._name][index])))
        least = 0.0
        found = []
        for step in _STEPS:
            h = step * scale
            below, above = self._at(index, -h), self._at(index, h)
            least = least or self._least(below, above, h)
            found.append(self._sum(above - below) / (2 * h))
            if _error(gradient, found[-1], least) > self._tolerance:
                far = self._at(index, -2 * h), self._at(index, 2 * h)
                # Three points on one side are as exact as two around the middle.
                sides = [
                    self._sum(4 * (near - self._middle) - (further - self._middle)) / (2 * h * sign)
                    for near, further, sign in ((below, far[0], -1), (above, far[1], 1))
                ]
                # At a kink, a slope between those of the sides is one, too.
                found += [*sides, min(max(gradient, min(sides)), max(sides))]
            errors = [_error(gradient, slope, least) for slope in found]
            if min(errors) <= self._tolerance:
                break
        return Element(self._name, index, gradient, found[int(np.argmin(errors))], min(errors))

    def _at(self, index: tuple[int, ...], offset: float) -> np.ndarray:
        moved = self._arrays[self._name].copy()
        moved[index] += offset
        return self._function({**self._arrays, self._name: moved})

    def _sum(self, outputs: np.ndarray) -> float:
        return float((self._weights * outputs).sum())

    def _least(self, below: np.ndarray, above: np.ndarray, h: float) -> float:
        """Return the size of a gradient from which on rounding is below the tolerance."""
        sizes = np.abs(self._weights) * np.maximum(np.abs(below), np.abs(above))
        # Outputs that do not change cost the differences nothing, but the pullback also rounds.
        noise = _NOISE * (float(sizes[below != above].sum()) / h + float(sizes.sum()))
        return max(noise / self._tolerance, float(np.finfo(np.float64).tiny))


def _error(gradient: float, slope: float, least: float) -> float:
    error = abs(gradient - slope) / max(abs(gradient), abs(slope), least)
    return error if np.isfinite(error) else float("inf")
