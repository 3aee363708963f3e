"""Trees: dicts, tuples and lists inside each other, and their leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import array_api_compat

Tree = Any

_TREES = frozenset((dict, tuple, list))


def leaves(tree: Tree) -> list[Any]:
    """Return what dicts, tuples and lists hold, in order; the form of each comes before, as a tuple."""
    found: list[Any] = []
    _collect((tree,), found)
    return found


def _collect(items: Collection[Any], found: list[Any]) -> None:
    if _TREES.isdisjoint(map(type, items)):
        found += items
        return
    for item in items:
        kind = type(item)
        if kind is dict:
            found.append(tuple(item))
            _collect(item.values(), found)
        elif kind is tuple or kind is list:
            found.append((kind, len(item)))
            _collect(item, found)
        else:
            found.append(item)


def rebuilt(tree: Tree, found: Iterator[Any]) -> Tree:
    """Return a tree of the form of `tree` with other leaves, in the order of `leaves`."""
    leaf = next(found)
    if type(tree) is dict:
        return {key: rebuilt(item, found) for key, item in tree.items()}
    if type(tree) is tuple or type(tree) is list:
        return type(tree)([rebuilt(item, found) for item in tree])
    return leaf


def is_array(x: Any) -> bool:
    """Return whether this is an array of a library, or a number of NumPy's, and not their class, a dtype."""
    return not isinstance(x, type) and bool(array_api_compat.is_array_api_obj(x))
