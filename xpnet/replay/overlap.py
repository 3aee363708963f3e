"""Which arrays share memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy

Array = Any


def span(array: Array) -> tuple[int, int]:
    """Return where the memory of an array that is stored row by row begins and ends."""
    if isinstance(array, numpy.generic):  # It cannot change, and NumPy makes a new address for each question.
        return 0, 0
    try:
        begin = array.__array_interface__["data"][0]
    except AttributeError:
        begin = array.data.ptr  # of CuPy
    return begin, begin + array.nbytes


def extent(array: Array) -> tuple[int, int]:
    """Return where the memory of an array with any strides begins and ends."""
    begin, end = span(array)
    if array.flags.c_contiguous or begin == end:
        return begin, end
    reaches = [stride * (n - 1) for stride, n in zip(array.strides, array.shape, strict=True)]
    last = begin + sum(reach for reach in reaches if reach > 0)
    return begin + sum(reach for reach in reaches if reach < 0), last + array.itemsize


def are_apart(spans: Mapping[int, tuple[int, int]], changed: Collection[int]) -> bool:
    """Return whether no array that is changed shares memory with another one, given the spans of all."""
    furthest = furthest_changed = 0  # ends of the arrays that begin before
    for place, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin == end:
            continue
        if begin < furthest_changed or (place in changed and begin < furthest):
            return False
        furthest = max(furthest, end)
        if place in changed:
            furthest_changed = max(furthest_changed, end)
    return True
